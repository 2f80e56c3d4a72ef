use super::*;
use crate::store::Memory;

fn table() -> Memory {
    Memory::new(&[&[
        "CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT, yes INTEGER NOT NULL DEFAULT 0) STRICT",
    ]])
}

fn numbers(tx: &Tx<'_>) -> Vec<i64> {
    tx.query("SELECT n FROM t ORDER BY n", &[], |row| row.int(0)).unwrap()
}

fn insert(tx: &Tx<'_>, n: i64) -> Result<u64, SqlError> {
    tx.execute("INSERT INTO t (n) VALUES ($1)", values![n])
}

#[test]
fn what_is_bound_is_read_again() {
    let table = table();
    let tx = &table.tx();
    let text = Some("ä\n".to_owned());
    let sql = "INSERT INTO t (text, yes) VALUES ($1, $2) RETURNING n";
    let first: i64 = tx.one(sql, values![&text, true], |row| row.int(0)).unwrap();
    let second: u32 = tx.one(sql, values![None::<&str>, false], |row| row.int(0)).unwrap();
    assert_eq!((first, second), (1, 2));
    let rows = tx.query("SELECT text, yes, n FROM t ORDER BY n", &[], |row| {
        Ok((row.opt_text(0)?.map(str::to_owned), row.bool(1)?, row.opt_int::<i64>(2)?))
    });
    assert_eq!(rows.unwrap(), [(text, true, Some(1)), (None, false, Some(2))]);
}

#[test]
fn what_a_column_does_not_hold_is_an_error_of_the_data() {
    let table = table();
    let tx = &table.tx();
    type Read = fn(&Row<'_>) -> Result<(), SqlError>;
    let row = |read: Read| tx.one("SELECT 1, 'x', NULL, -1", &[], read);
    let reads: [Read; 6] = [
        |row| row.int::<i64>(1).map(drop),
        |row| row.int::<i64>(2).map(drop),
        |row| row.text(0).map(drop),
        |row| row.text(2).map(drop),
        |row| row.int::<u32>(3).map(drop),
        |row| row.parsed::<std::net::IpAddr>(1).map(drop),
    ];
    for read in reads {
        let error = row(read).unwrap_err();
        assert!(error.is_permanent() && error.to_string().starts_with("column "), "{error}");
    }
}

#[test]
fn parameters_that_postgresql_would_number_otherwise_are_refused_by_name() {
    let table = table();
    for sql in [
        "INSERT INTO t (n, text) VALUES ($2, $1)",
        "INSERT INTO t (n, text) VALUES (?1, ?2)",
        "INSERT INTO t (n, text) VALUES (?, ?)",
        "INSERT INTO t (n, text) VALUES ($1, $3)",
    ] {
        let error = table.tx().execute(sql, values![1_i64, "x"]).unwrap_err().to_string();
        assert!(error.contains(sql), "{error}");
    }
    let twice = "SELECT $1 + $2 + $1";
    assert_eq!(table.tx().one(twice, values![1_i64, 2_i64], |row| row.int::<i64>(0)).unwrap(), 4);
}

#[test]
fn a_value_too_many_or_too_few_is_an_error() {
    let table = table();
    for values in [values![1_i64] as &[Value<'_>], values![1_i64, 2_i64, 3_i64]] {
        table.tx().execute("INSERT INTO t (n, yes) VALUES ($1, $2)", values).unwrap_err();
    }
    assert_eq!(numbers(&table.tx()), [0_i64; 0]);
}

#[test]
fn rows_behind_a_break_are_not_read() {
    let table = table();
    let tx = &table.tx();
    for n in 1..=5 {
        insert(tx, n).unwrap();
    }
    let mut taken = Vec::new();
    tx.each("SELECT n FROM t ORDER BY n", &[], |row| {
        taken.push(row.int::<i64>(0)?);
        Ok(if taken.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
    .unwrap();
    assert_eq!(taken, [1, 2]);
    assert_eq!(tx.first("SELECT n FROM t WHERE n > 5", &[], |row| row.int::<i64>(0)).unwrap(), None);
    tx.one("SELECT n FROM t WHERE n > 5", &[], |row| row.int::<i64>(0)).unwrap_err();
}

#[test]
fn a_savepoint_that_fails_takes_back_what_is_in_it_and_nothing_else() {
    let table = table();
    let tx = &table.tx();
    insert(tx, 1).unwrap();
    let failed = tx.savepoint(|tx| {
        insert(tx, 2)?;
        tx.savepoint(|tx| insert(tx, 3))?;
        insert(tx, 1)
    });
    failed.unwrap_err();
    assert_eq!(numbers(tx), [1]);
    tx.savepoint(|tx| {
        insert(tx, 4)?;
        tx.savepoint(|tx| insert(tx, 5).and_then(|_| insert(tx, 5))).unwrap_err();
        insert(tx, 6)
    })
    .unwrap();
    assert_eq!(numbers(tx), [1, 4, 6]);
}

#[test]
fn nothing_is_written_once_the_transaction_has_ended() {
    let table = table();
    let tx = &table.tx();
    let failed = tx.savepoint(|tx| {
        insert(tx, 1)?;
        tx.connection().execute_batch("ROLLBACK")?;
        Err::<(), _>(SqlError::data("the disk failed"))
    });
    assert_eq!(failed.unwrap_err().to_string(), "the disk failed");
    assert!(insert(tx, 2).unwrap_err().to_string().contains("full or failing"));
    assert_eq!(numbers(tx), [0_i64; 0]);
}
