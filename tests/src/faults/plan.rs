//! Which fault, when, where, and for how long. Pure: the same seed gives the same plan on every machine.

use shared::ServiceName::{self, Comments, EventBus, Moderation, Posts, Query};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Every service of the campaign.
pub const SERVICES: [ServiceName; 5] = [Posts, Comments, Moderation, Query, EventBus];

/// Which way requests go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From a service to the bus: publications and registrations.
    ToBus,
    /// From the bus to a service: deliveries.
    FromBus,
    /// From writers and readers to a service.
    FromClients,
}

/// The connections of one service in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    pub direction: Direction,
    /// The service; the other end is the bus or a client.
    pub service: ServiceName,
}

/// The services that writers and readers use.
pub const PUBLIC: [ServiceName; 3] = [Posts, Comments, Query];

impl Link {
    /// Every link of the system.
    pub fn all() -> Vec<Self> {
        let of = |direction, services: &[ServiceName]| -> Vec<_> {
            services.iter().map(|&service| Self { direction, service }).collect()
        };
        [
            of(Direction::ToBus, &ServiceName::PEERS),
            of(Direction::FromBus, &ServiceName::PEERS),
            of(Direction::FromClients, &PUBLIC),
        ]
        .concat()
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.direction {
            Direction::ToBus => write!(f, "{} -> event-bus", self.service),
            Direction::FromBus => write!(f, "event-bus -> {}", self.service),
            Direction::FromClients => write!(f, "clients -> {}", self.service),
        }
    }
}

/// How a link misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkFault {
    /// Open connections break and new ones are closed at once.
    Cut,
    /// Everything takes this much longer, in both directions.
    Delay(Duration),
    /// An answer breaks off after this many bytes.
    CutAnswer(usize),
    /// Each request arrives twice; the caller receives the second answer.
    RequestTwice,
    /// Each short answer comes twice.
    AnswerTwice,
    /// Connections are accepted and never answered.
    Silence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; the service is started again when the fault ends.
    Kill(ServiceName),
    /// SIGTERM; the service ends by itself and is started again.
    Stop(ServiceName),
    /// SIGSTOP, then SIGCONT when the fault ends.
    Pause(ServiceName),
    /// The bus is killed and stays down.
    BusDown,
    Network(Link, NetworkFault),
    DiskFull(ServiceName),
    /// Query is killed, its store deleted, and it is started again.
    WipeQuery,
}

/// A kind of fault: a row of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is named like the fault that it counts")]
pub enum Kind {
    Kill,
    Stop,
    Pause,
    BusDown,
    Cut,
    Delay,
    CutAnswer,
    RequestTwice,
    AnswerTwice,
    Silence,
    DiskFull,
    WipeQuery,
}

impl Kind {
    pub const ALL: [Self; 12] = [
        Self::Kill,
        Self::Stop,
        Self::Pause,
        Self::BusDown,
        Self::Cut,
        Self::Delay,
        Self::CutAnswer,
        Self::RequestTwice,
        Self::AnswerTwice,
        Self::Silence,
        Self::DiskFull,
        Self::WipeQuery,
    ];

    /// Its name in the report.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Kill => "a service killed (kill -9) and started again",
            Self::Stop => "a service stopped (SIGTERM) and started again",
            Self::Pause => "a service paused (SIGSTOP)",
            Self::BusDown => "the bus down for a while",
            Self::Cut => "connections cut",
            Self::Delay => "connections delayed",
            Self::CutAnswer => "answers cut off",
            Self::RequestTwice => "requests delivered twice",
            Self::AnswerTwice => "answers sent twice",
            Self::Silence => "connections never answered",
            Self::DiskFull => "disk full for a while",
            Self::WipeQuery => "query wiped",
        }
    }
}

impl Fault {
    /// Its row of the report.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Kill(_) => Kind::Kill,
            Self::Stop(_) => Kind::Stop,
            Self::Pause(_) => Kind::Pause,
            Self::BusDown => Kind::BusDown,
            Self::DiskFull(_) => Kind::DiskFull,
            Self::WipeQuery => Kind::WipeQuery,
            Self::Network(_, fault) => match fault {
                NetworkFault::Cut => Kind::Cut,
                NetworkFault::Delay(_) => Kind::Delay,
                NetworkFault::CutAnswer(_) => Kind::CutAnswer,
                NetworkFault::RequestTwice => Kind::RequestTwice,
                NetworkFault::AnswerTwice => Kind::AnswerTwice,
                NetworkFault::Silence => Kind::Silence,
            },
        }
    }

    /// What it breaks: two faults on the same target come one after the other.
    const fn target(&self) -> Target {
        match *self {
            Self::Kill(service) | Self::Stop(service) | Self::Pause(service) => Target::Process(service),
            Self::BusDown => Target::Process(EventBus),
            Self::WipeQuery => Target::Process(Query),
            Self::DiskFull(service) => Target::Disk(service),
            Self::Network(link, _) => Target::Link(link),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Process(ServiceName),
    Disk(ServiceName),
    Link(Link),
}

/// A fault with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// When it begins, from the start of the campaign.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// The fault.
    pub fault: Fault,
}

/// All faults of a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The services whose data is on a small disk.
    pub small_disks: Vec<ServiceName>,
    /// The faults, by the time when they begin.
    pub faults: Vec<Planned>,
}

/// The shortest time between two faults on the same target: it has to work again before it breaks again.
const REST_MS: u64 = 500;
/// The shortest and the longest time from one fault to the next.
const GAP_MS: (u64, u64) = (300, 1_500);

/// The kinds that end a process.
const ENDING: [Kind; 4] = [Kind::Kill, Kind::Stop, Kind::BusDown, Kind::WipeQuery];

/// Draws the faults of a campaign of this length. In its last third no process is ended: a new process would hide what
/// the old one has leaked.
pub fn draw(seed: u64, length: Duration) -> Plan {
    let mut rng = Rng(fastrand::Rng::with_seed(seed));
    let mut small_disks: Vec<_> = SERVICES.into_iter().filter(|_| rng.below(2) == 0).collect();
    if small_disks.is_empty() {
        small_disks.push(rng.of(&SERVICES));
    }
    let length = length.as_millis() as u64;
    let spared_from = length / 3 * 2;
    let (mut faults, mut deck, mut now) = (Vec::new(), Vec::new(), 0);
    let mut busy_until: BTreeMap<Target, u64> = BTreeMap::new();
    loop {
        now += rng.between(GAP_MS.0, GAP_MS.1);
        // From a shuffled deck, so that a short campaign has every kind.
        let kind = deck.pop().unwrap_or_else(|| {
            deck = rng.shuffled(&Kind::ALL);
            deck.pop().unwrap_or(Kind::Kill)
        });
        let (fault, lasts) = rng.fault(kind, &small_disks);
        let at = now.max(busy_until.get(&fault.target()).copied().unwrap_or(0));
        if now >= length {
            break;
        }
        let until = if ENDING.contains(&kind) { spared_from } else { length };
        if at + lasts > until {
            continue;
        }
        busy_until.insert(fault.target(), at + lasts + REST_MS);
        let (at, lasts) = (Duration::from_millis(at), Duration::from_millis(lasts));
        faults.push(Planned { at, lasts, fault });
    }
    faults.sort_by_key(|planned| planned.at);
    Plan { small_disks, faults }
}

/// Random numbers of one width, so that every machine draws the same.
struct Rng(fastrand::Rng);

impl Rng {
    fn below(&mut self, end: u64) -> u64 {
        self.0.u64(0..end)
    }

    fn between(&mut self, least: u64, most: u64) -> u64 {
        self.0.u64(least..=most)
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn shuffled<T: Copy>(&mut self, all: &[T]) -> Vec<T> {
        let mut all = all.to_vec();
        for at in (1..all.len()).rev() {
            all.swap(at, self.below(at as u64 + 1) as usize);
        }
        all
    }

    /// A fault of this kind, and how many milliseconds it lasts.
    fn fault(&mut self, kind: Kind, small_disks: &[ServiceName]) -> (Fault, u64) {
        let links = Link::all();
        match kind {
            Kind::Kill => (Fault::Kill(self.of(&SERVICES)), self.of(&[0, 0, 500, 3_000])),
            Kind::Stop => (Fault::Stop(self.of(&SERVICES)), 0),
            Kind::Pause => (Fault::Pause(self.of(&SERVICES)), self.between(1_000, 5_000)),
            Kind::BusDown => (Fault::BusDown, self.between(2_000, 8_000)),
            Kind::Cut => (Fault::Network(self.of(&links), NetworkFault::Cut), self.between(100, 4_000)),
            Kind::Delay => {
                let delay = Duration::from_millis(self.between(20, 1_500));
                (Fault::Network(self.of(&links), NetworkFault::Delay(delay)), self.between(1_000, 5_000))
            }
            Kind::CutAnswer => {
                let after = self.between(1, 200) as usize;
                (Fault::Network(self.of(&links), NetworkFault::CutAnswer(after)), self.between(500, 4_000))
            }
            Kind::RequestTwice => {
                // A writer's request that arrives twice rightly creates two posts.
                let inner: Vec<_> =
                    links.into_iter().filter(|e| e.direction != Direction::FromClients).collect();
                (Fault::Network(self.of(&inner), NetworkFault::RequestTwice), self.between(2_000, 8_000))
            }
            Kind::AnswerTwice => {
                (Fault::Network(self.of(&links), NetworkFault::AnswerTwice), self.between(2_000, 8_000))
            }
            // Some last longer than the ten-second timeout of an exchange.
            Kind::Silence => {
                // Half of them are the worst case: a consumer that never answers the bus.
                let consumers: Vec<_> =
                    links.iter().copied().filter(|e| e.direction == Direction::FromBus).collect();
                let link = if self.below(2) == 0 { self.of(&consumers) } else { self.of(&links) };
                (Fault::Network(link, NetworkFault::Silence), self.between(2_000, 14_000))
            }
            Kind::DiskFull => (Fault::DiskFull(self.of(small_disks)), self.between(2_000, 8_000)),
            Kind::WipeQuery => (Fault::WipeQuery, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const TWO_MINUTES: Duration = Duration::from_secs(120);

    #[test]
    fn the_same_seed_is_the_same_plan_and_another_is_another() {
        assert_eq!(draw(7, TWO_MINUTES), draw(7, TWO_MINUTES));
        assert_ne!(draw(7, TWO_MINUTES), draw(8, TWO_MINUTES));
    }

    #[test]
    fn a_seed_means_the_same_everywhere_and_always() {
        // If this fails, the seeds of earlier reports no longer repeat their plans.
        let plan = draw(42, TWO_MINUTES);
        let first: Vec<_> = plan.faults[..3].iter().map(|p| format!("{:?} {:?}", p.at, p.fault)).collect();
        assert_eq!(plan.small_disks, [Comments, Query]);
        let expected = [
            "847ms DiskFull(Query)",
            "2.202s Network(Link { direction: FromBus, service: Moderation }, Cut)",
            "3.093s Network(Link { direction: FromBus, service: Comments }, RequestTwice)",
        ];
        assert_eq!(first, expected);
    }

    #[test]
    fn two_minutes_have_every_kind_and_all_is_over_at_the_end() {
        for seed in 0..200 {
            let plan = draw(seed, TWO_MINUTES);
            let kinds: BTreeSet<_> = plan.faults.iter().map(|p| p.fault.kind()).collect();
            assert_eq!(kinds.len(), Kind::ALL.len(), "seed {seed}");
            assert!(plan.faults.iter().all(|p| p.at + p.lasts <= TWO_MINUTES), "seed {seed}");
            assert!(plan.faults.is_sorted_by_key(|p| p.at), "seed {seed}");
        }
    }

    #[test]
    fn no_process_is_ended_in_the_last_third() {
        for seed in 0..200 {
            let spared = TWO_MINUTES / 3 * 2;
            let plan = draw(seed, TWO_MINUTES);
            let (ending, others): (Vec<Planned>, Vec<Planned>) =
                plan.faults.into_iter().partition(|p| ENDING.contains(&p.fault.kind()));
            assert!(ending.iter().all(|p| p.at + p.lasts <= spared), "seed {seed}");
            assert!(others.iter().filter(|p| p.at > spared).count() > 10, "seed {seed}");
        }
    }

    #[test]
    fn one_thing_breaks_once_at_a_time() {
        for seed in 0..200 {
            let mut free_at: BTreeMap<Target, Duration> = BTreeMap::new();
            for planned in draw(seed, TWO_MINUTES).faults {
                let free = free_at.insert(planned.fault.target(), planned.at + planned.lasts);
                assert!(free.is_none_or(|free| free < planned.at), "seed {seed}: {planned:?}");
            }
        }
    }

    #[test]
    fn no_writers_request_is_doubled_and_only_small_disks_fill_up() {
        for seed in 0..200 {
            let plan = draw(seed, TWO_MINUTES);
            for planned in &plan.faults {
                match planned.fault {
                    Fault::Network(link, NetworkFault::RequestTwice) => {
                        assert_ne!(link.direction, Direction::FromClients);
                    }
                    Fault::DiskFull(service) => assert!(plan.small_disks.contains(&service)),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn an_empty_duration_plans_no_faults() {
        assert_eq!(draw(1, Duration::ZERO).faults, []);
    }
}
