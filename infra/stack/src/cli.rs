//! The command line.

use crate::control::{self, Answer, Request};
use crate::dead_letters::{DeadLetterClient, DeadLetterError, Resolution};
use crate::engine::Engine;
use crate::labels::Output;
use crate::parent;
use crate::plan::Ports;
use crate::process_name::{MAX_REPLICAS, ProcessName};
use crate::seed::{self, Amount};
use crate::status;
use crate::supervisor::{self, Options};
use clap::{Args, Parser, Subcommand};
use kit::http::RateLimits;
use shared::ServiceName;
use std::ffi::OsString;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// An event-driven blog: all its services on one machine.
#[derive(Debug, Parser)]
#[command(name = "mini-blog", version, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything, each service as a process of its own, until Ctrl-C
    Up(Up),
    /// Show the state of every service, and the lag of the bus's subscribers
    Status(Where),
    /// Kill a service (SIGKILL); it stays down until it is started
    Kill(Target),
    /// Start a service that is down or has failed
    Start(Target),
    /// Stop a service (SIGTERM) and start it again
    Restart(Target),
    /// Show the events that could not be applied; redrive them after fixing the cause, or discard one
    DeadLetters(DeadLetters),
    /// Fill the running stack with made-up posts and comments, as a benchmark or a demonstration needs them
    Seed(Seed),
    /// Run the event bus alone, in this process
    #[command(disable_help_flag = true)]
    EventBus(Passed),
    /// Run the posts service alone
    #[command(disable_help_flag = true)]
    Posts(Passed),
    /// Run the comments service alone
    #[command(disable_help_flag = true)]
    Comments(Passed),
    /// Run the moderation service alone
    #[command(disable_help_flag = true)]
    Moderation(Passed),
    /// Run the query service alone
    #[command(disable_help_flag = true)]
    Query(Passed),
    /// Run the website alone
    #[command(disable_help_flag = true)]
    Frontend(Passed),
}

#[derive(Debug, Args)]
struct Up {
    #[command(flatten)]
    place: Where,
    /// The address on which the site listens; the services stay on 127.0.0.1
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// The port of the site [default: 3000, or a free one with --ports free]
    #[arg(long)]
    port: Option<u16>,
    /// Which ports the services use
    #[arg(long, value_enum, default_value_t = Ports::Course)]
    ports: Ports,
    /// Where the services keep their state
    #[arg(long, value_enum, default_value_t)]
    engine: Engine,
    /// How many processes of each service but the site; more than one needs --engine postgres
    #[arg(long, default_value_t = 1, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_REPLICAS)))]
    replicas: u8,
    /// Do not start this service (may be repeated)
    #[arg(long, value_name = "SERVICE")]
    without: Vec<ServiceName>,
    /// Whether one client is kept from taking what is meant for all; off for benchmarks and load tests
    #[arg(long, env = "RATE_LIMITS", value_enum, default_value_t, value_name = "WHETHER")]
    rate_limits: RateLimits,
    /// The folder of the built site [default: `site` beside the program, or target/site]
    #[arg(long, env = "LEPTOS_SITE_ROOT")]
    site_root: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Where {
    /// The folder of all data, the secrets, and the socket of the running stack
    #[arg(long, env = "DATA_DIR", default_value = "./data")]
    data_dir: PathBuf,
}

#[derive(Debug, Args)]
struct Target {
    /// One of event-bus, posts, comments, moderation, query or frontend; of several replicas one, as in comments/1
    service: ProcessName,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
struct DeadLetters {
    #[command(subcommand)]
    resolve: Option<Resolve>,
    /// Only dead letters of this service: posts, comments, moderation or query
    #[arg(long, value_name = "SERVICE", value_parser = consumer)]
    service: Option<ProcessName>,
    #[command(flatten)]
    place: Where,
}

/// The most posts or comments of one run.
const MOST_SEEDED: u64 = 100_000_000;

#[derive(Debug, Args)]
struct Seed {
    /// How many posts
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=MOST_SEEDED))]
    posts: u64,
    /// How many comments, spread over the posts: a few have long threads, some have no comment
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(..=MOST_SEEDED))]
    comments: u64,
    /// Where all randomness comes from: the same numbers and seed are the same events, and a second run adds nothing
    #[arg(long = "seed", value_name = "NUMBER", default_value_t = 1)]
    random: u64,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Subcommand)]
enum Resolve {
    /// Apply an event and those parked behind it, in order, up to the first that still fails
    Redrive(Letter),
    /// Give up one event for good (it stays on record), and redrive those parked behind it
    Discard(Letter),
}

#[derive(Debug, Args)]
struct Letter {
    /// One of posts, comments, moderation or query; of several replicas of query one, as in query/1
    #[arg(value_parser = consumer)]
    service: ProcessName,
    /// The ID in the list
    id: i64,
    #[command(flatten)]
    place: Where,
}

/// Parses a service that consumes events, and so may have dead letters.
fn consumer(text: &str) -> Result<ProcessName, String> {
    let known = text.parse().ok().filter(|name: &ProcessName| ServiceName::PEERS.contains(&name.service));
    known.ok_or_else(|| "expected one of posts, comments, moderation and query".to_owned())
}

#[derive(Debug, Args)]
struct Passed {
    /// The service's own flags; see its --help
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    flags: Vec<OsString>,
}

/// Runs the program. The exit code is 0 on success, 1 on failure, 2 for wrong usage.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Cli::parse_from(args).command {
        Command::Up(up) => run_up(up),
        Command::Status(place) => ask(&place, Request::Status),
        Command::Kill(Target { service, place }) => ask(&place, Request::Kill { service }),
        Command::Start(Target { service, place }) => ask(&place, Request::Start { service }),
        Command::Restart(Target { service, place }) => ask(&place, Request::Restart { service }),
        Command::DeadLetters(letters) => dead_letters(letters),
        Command::Seed(seed) => run_seed(&seed),
        Command::EventBus(passed) => service(ServiceName::EventBus, passed, event_bus::build),
        Command::Posts(passed) => service(ServiceName::Posts, passed, posts::build),
        Command::Comments(passed) => service(ServiceName::Comments, passed, comments::build),
        Command::Moderation(passed) => service(ServiceName::Moderation, passed, moderation::build),
        Command::Query(passed) => service(ServiceName::Query, passed, query::build),
        Command::Frontend(passed) => service(ServiceName::Frontend, passed, frontend::server::build),
    }
}

/// The same as the service's own binary, except that it ends with its supervisor if it has one.
fn service<C, F, Fut>(name: ServiceName, passed: Passed, build: F) -> ExitCode
where
    C: kit::app::config::ServiceConfig,
    F: FnOnce(C, kit::runtime::deps::Deps, kit::runtime::lifecycle::Lifecycle) -> Fut,
    Fut: Future<Output = Result<kit::app::service::Service, kit::app::StartError>>,
{
    parent::end_with_supervisor();
    let program = OsString::from(format!("mini-blog {name}"));
    kit::app::service::main(name, std::iter::once(program).chain(passed.flags), build)
}

fn run_up(up: Up) -> ExitCode {
    let options = Options {
        data_dir: up.place.data_dir,
        site_root: up.site_root,
        host: up.host,
        port: up.port,
        ports: up.ports,
        without: up.without,
        rate_limits: up.rate_limits,
        engine: up.engine,
        replicas: up.replicas,
    };
    let (output, writer) = Output::stdout();
    let output = if options.replicas > 1 { output.with_numbers() } else { output };
    let code = on_runtime(async {
        match supervisor::up(options, &output).await {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(e) => failed(&e),
        }
    });
    output.finish(&writer);
    code
}

fn ask(place: &Where, request: Request) -> ExitCode {
    on_runtime(async {
        match control::ask(&place.data_dir, request).await {
            Ok(Answer::Done { message }) => print(&format!("{message}\n")),
            Ok(Answer::Status(status)) => print(&status::table(&status)),
            Ok(Answer::Failed { message }) => failed(&message),
            Err(e) => failed(&e),
        }
    })
}

fn dead_letters(DeadLetters { resolve, service, place }: DeadLetters) -> ExitCode {
    on_runtime(async {
        let result = match resolve {
            None => match DeadLetterClient::open(&place.data_dir) {
                Ok(client) => client.list(service).await,
                Err(e) => Err(e),
            },
            Some(Resolve::Redrive(letter)) => resolve_one(&letter, Resolution::Redrive).await,
            Some(Resolve::Discard(letter)) => resolve_one(&letter, Resolution::Discard).await,
        };
        result.map_or_else(|e| failed(&e), |text| print(&text))
    })
}

fn run_seed(&Seed { posts, comments, random, ref place }: &Seed) -> ExitCode {
    let report = |line: &str| eprintln!("mini-blog: {line}");
    on_runtime(async {
        match seed::seed(&place.data_dir, Amount { posts, comments, seed: random }, report).await {
            Ok(text) => print(&text),
            Err(e) => failed(&e),
        }
    })
}

async fn resolve_one(
    Letter { service, id, place }: &Letter,
    resolution: Resolution,
) -> Result<String, DeadLetterError> {
    DeadLetterClient::open(&place.data_dir)?.resolve(*service, *id, resolution).await
}

fn print(text: &str) -> ExitCode {
    // A reader may close early (`| head`).
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn failed(why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("mini-blog: {why}");
    ExitCode::FAILURE
}

fn on_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(e) => failed(&e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|cli| cli.command)
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_service_is_a_subcommand_and_gets_its_flags_untouched() {
        for name in ServiceName::ALL {
            let parsed = parse(&format!("mini-blog {name} --help --listen 127.0.0.1:1 -x")).unwrap();
            let (Command::EventBus(p)
            | Command::Posts(p)
            | Command::Comments(p)
            | Command::Moderation(p)
            | Command::Query(p)
            | Command::Frontend(p)) = parsed
            else {
                panic!("{name} is no subcommand")
            };
            assert_eq!(p.flags, ["--help", "--listen", "127.0.0.1:1", "-x"]);
        }
    }

    #[test]
    fn an_unknown_service_is_an_error_of_usage_that_names_those_there_are() {
        for line in ["mini-blog kill bus", "mini-blog up --without bus", "mini-blog up --what", "mini-blog"] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        let error = parse("mini-blog kill bus").unwrap_err().to_string();
        assert!(error.contains("event-bus, posts, comments, moderation, query, frontend"), "{error}");
    }

    #[test]
    fn dead_letters_are_listed_redriven_and_discarded() {
        let parsed = |line| match parse(line) {
            Ok(Command::DeadLetters(letters)) => letters,
            other => panic!("{line}: {other:?}"),
        };
        let list = parsed("mini-blog dead-letters --service query --data-dir d");
        assert_eq!(
            (list.service, list.place.data_dir.to_str()),
            (Some(ServiceName::Query.into()), Some("d"))
        );
        let redrive = parsed("mini-blog dead-letters redrive query 7 --data-dir d").resolve;
        let Some(Resolve::Redrive(Letter { service, id: 7, place })) = redrive else { panic!("{redrive:?}") };
        assert_eq!(service, ServiceName::Query.into());
        assert_eq!(place.data_dir.to_str(), Some("d"));
        for wrong in [
            "--service event-bus",
            "--service nobody",
            "redrive query",
            "redrive query x",
            "redrive frontend 7",
            "discard",
            "resend query 7",
        ] {
            let error = parse(&format!("mini-blog dead-letters {wrong}")).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn seeding_takes_numbers_within_bounds() {
        let Ok(Command::Seed(seed)) = parse("mini-blog seed --posts 3 --comments 0 --seed 9") else {
            panic!("no seed")
        };
        assert_eq!((seed.posts, seed.comments, seed.random), (3, 0, 9));
        for wrong in
            ["", "--posts 0 --comments 1", "--posts 1 --comments -1", "--posts 100000001 --comments 1"]
        {
            assert_eq!(parse(&format!("mini-blog seed {wrong}")).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn up_has_the_defaults_of_the_course() {
        let Ok(Command::Up(up)) = parse("mini-blog up --without query --without posts") else {
            panic!("no up")
        };
        assert_eq!(up.ports, Ports::Course);
        assert_eq!(up.host.to_string(), "127.0.0.1");
        assert_eq!(up.without, [ServiceName::Query, ServiceName::Posts]);
        assert_eq!(up.rate_limits, RateLimits::On);
        assert_eq!((up.engine, up.replicas), (Engine::Sqlite, 1));
        for wrong in ["--replicas 0", "--replicas 10", "--engine mysql"] {
            assert_eq!(parse(&format!("mini-blog up {wrong}")).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }
}
