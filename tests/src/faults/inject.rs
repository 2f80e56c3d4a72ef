//! Carries out a plan, and counts what happened.

use super::plan::{Fault, Kind, Plan, Planned};
use super::world::World;
use shared::ServiceName::{EventBus, Query};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// What happened.
#[derive(Debug, Clone, Default)]
pub struct Injected {
    /// How often each kind of fault was injected.
    pub counts: BTreeMap<Kind, u64>,
    /// Why faults of a kind could not be injected.
    pub refused: BTreeMap<Kind, BTreeSet<String>>,
    /// How many connections and exchanges each kind of network fault has hit.
    pub met: BTreeMap<Kind, u64>,
}

/// Injects all faults at their times; returns when the last has ended and everything runs again.
pub async fn carry_out(world: &Arc<World>, plan: &Plan) -> Injected {
    let (start, mut underway) = (Instant::now(), JoinSet::new());
    for planned in plan.faults.clone() {
        let world = Arc::clone(world);
        underway.spawn(async move {
            sleep_until(start + planned.at).await;
            (planned.fault.kind(), inject(&world, planned).await)
        });
    }
    let mut injected = Injected::default();
    while let Some(done) = underway.join_next().await {
        let (kind, done) = done.expect("no fault panics");
        match done {
            Ok(met) => {
                *injected.counts.entry(kind).or_default() += 1;
                if let Some(met) = met {
                    *injected.met.entry(kind).or_default() += met;
                }
            }
            Err(why) => drop(injected.refused.entry(kind).or_default().insert(why)),
        }
    }
    injected
}

/// Injects a fault and ends it after its time; returns how many exchanges it hit, if that is known.
async fn inject(world: &World, planned: Planned) -> Result<Option<u64>, String> {
    match planned.fault {
        Fault::Kill(service) if planned.lasts.is_zero() => world.process(service).crash()?,
        Fault::Stop(service) => world.process(service).stop()?,
        Fault::Kill(service) => {
            world.process(service).down().await;
            sleep(planned.lasts).await;
            world.process(service).up();
        }
        Fault::BusDown => {
            world.process(EventBus).down().await;
            sleep(planned.lasts).await;
            world.process(EventBus).up();
        }
        Fault::Pause(service) => {
            let paused = world.process(service).pause().ok_or("it was not running at that moment")?;
            sleep(planned.lasts).await;
            drop(paused);
        }
        Fault::Network(link, fault) => {
            let proxy = world.link(link);
            let before = proxy.hit();
            proxy.set(Some(fault));
            sleep(planned.lasts).await;
            proxy.set(None);
            return Ok(Some(proxy.hit() - before));
        }
        Fault::DiskFull(service) => {
            let disk = world.disk(service)?;
            disk.fill()?;
            sleep(planned.lasts).await;
            disk.free().expect("a disk that was filled can be freed");
        }
        Fault::WipeQuery => {
            let query = world.process(Query);
            query.down().await;
            let wiped = wipe(world);
            query.up();
            wiped?;
        }
    }
    Ok(None)
}

/// Deletes the store of query, which must be down.
pub fn wipe(world: &World) -> Result<(), String> {
    let folder = world.data(Query);
    let said = |e: std::io::Error| format!("cannot wipe {}: {e}", folder.display());
    for entry in fs::read_dir(&folder).map_err(said)? {
        fs::remove_file(entry.map_err(said)?.path()).map_err(said)?;
    }
    Ok(())
}
