-- The log. It is only appended to, by log_append alone. Types are in lower case: the kit translates those of SQLite.

create table events (
    seq bigint primary key,
    source text collate "C" not null,
    id text collate "C" not null,
    recorded_at bigint not null,
    envelope text not null,
    checksum bigint not null,
    unique (source, id)
);

-- The last place. Its row is locked by each append until it is committed: so places are given in the order of the commits,
-- and nobody sees a place before all those that come earlier.
create table log_head (
    one bigint primary key check (one = 1),
    seq bigint not null
);
insert into log_head (one, seq) values (1, 0);

create function log_is_appended_to() returns trigger language plpgsql as $$
begin
    raise exception 'the log is only appended to';
end $$;
create trigger append_only before update or delete or truncate on events
    for each statement execute function log_is_appended_to();

-- Appends the events that the log does not hold yet. Returns of each its place, what is stored there where that is another
-- text, and where the log ended before. It needs READ COMMITTED: after it has waited for the lock, it has to see what was
-- committed meanwhile. The settings keep a plan that was made for an empty table from being used for a large one.
create function log_append(sources text[], ids text[], times bigint[], envelopes text[], checksums bigint[])
returns table (place bigint, stored text, before bigint) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    head bigint;
    added bigint;
begin
    select h.seq into strict head from log_head h where h.one = 1 for update;
    insert into events (seq, source, id, recorded_at, envelope, checksum)
        select head + n.place, n.source, n.id, n.time, n.envelope, n.checksum # (head + n.place)
        from (
            select f.*, row_number() over (order by f.ord) as place
            from (
                select distinct on (t.source, t.id) t.*
                from unnest(sources, ids, times, envelopes, checksums)
                    with ordinality as t(source, id, time, envelope, checksum, ord)
                where not exists (select from events e where e.source = t.source and e.id = t.id)
                order by t.source, t.id, t.ord
            ) f
        ) n;
    get diagnostics added = row_count;
    if added > 0 then
        update log_head set seq = head + added where one = 1;
    end if;
    return query
        select e.seq, case when e.envelope <> t.envelope then e.envelope end, head
        from unnest(sources, ids, envelopes) with ordinality as t(source, id, envelope, ord)
        join events e on e.source = t.source and e.id = t.id
        order by t.ord;
end $$;
