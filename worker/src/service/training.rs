//! Training jobs: the trainer, fed from the store, its weights put into the artifact store.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anofpdm_common::ids::Digest;
use anofpdm_common::queue::ErrorClass;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::store::slices::{SliceStore, StoreError};
use anofpdm_common::telemetry::training::{TrainMetrics, TrainStep};
use anofpdm_common::work::{GangRank, PlanError, TrainPlan};
use tch::{Device, Kind};

use crate::collective::gloo::{self, Listen};
use crate::collective::{CollectiveError, Group, Membership, Rendezvous, Timeouts, nccl};
use crate::fake::{FakeDevice, weights};
use crate::train::store_slices::StoreSlices;
use crate::train::{
    Cached, Control, Identity, Ranks, TrainError, TrainRequest, TrainingData, train,
};

use super::failure::JobError;
use super::meeting::{Meeting, MeetingError};
use super::renewal::Progress;
use super::watch::Watch;
use super::{JobResult, Outcome};

/// Memory for training slices; the rest is read from the store again each epoch.
const CACHE_BYTES: usize = 1 << 30;

/// How long the first ranks wait for the last: another run may have their workers for now.
const GATHERING: Duration = Duration::from_secs(60);

/// How long a rank of a generation that is over waits to be called off.
const LOST: Duration = Duration::from_secs(10);

/// Pause between two looks at whether this rank is still wanted.
const WAIT_EVERY: Duration = Duration::from_millis(50);

/// One training and what it is done with.
pub(super) struct Training<'a> {
    pub(super) plan: &'a TrainPlan,
    /// Which rank of which gang this is.
    pub(super) rank: GangRank,
    /// Where it finds the others.
    pub(super) meeting: Arc<Meeting>,
    /// Host name or address at which they reach it.
    pub(super) address: &'a str,
    pub(super) slices: &'a SliceStore,
    pub(super) artifacts: &'a ArtifactStore,
    /// Folder of the checkpoints of all networks.
    pub(super) checkpoints: &'a Path,
    pub(super) progress: &'a Arc<Progress>,
    pub(super) metrics: &'a TrainMetrics,
}

impl Training<'_> {
    /// Trains the network of the plan on `device`, from its last checkpoint where there is one: alone, or as a rank.
    pub(super) fn run(&self, device: Device) -> Result<Outcome, JobError> {
        if self.rank.world == 1 {
            return self.train(device, Ranks::Alone);
        }
        if !self.gather()? {
            return Ok(Outcome::Stopped);
        }
        let group = self.connect(device).map_err(|error| self.torn(&error))?;
        let trained = {
            let _watch = Watch::start(Arc::clone(&group), self.progress);
            self.train(device, Ranks::Together(group.as_ref()))
        };
        match trained {
            Ok(Outcome::Done(_)) if !self.rank.is_first() => {
                drop(group);
                Ok(self.wait_for_the_first())
            }
            Ok(outcome) => Ok(outcome),
            // Whatever went wrong, the others are not where they were.
            Err(error) => {
                // Its destructor waits for what is under way, up to the timeout of an operation; this process ends first.
                std::mem::forget(group);
                Err(error.afresh())
            }
        }
    }

    /// Connects to the other ranks, which are all there.
    fn connect(&self, device: Device) -> Result<Arc<Group>, CollectiveError> {
        let membership = Membership {
            rank: self.rank.rank as usize,
            world: self.rank.world as usize,
        };
        let rendezvous: Arc<dyn Rendezvous> = Arc::<Meeting>::clone(&self.meeting);
        let timeouts = Timeouts::default();
        let group = match device {
            Device::Cuda(_) => nccl::connect(membership, rendezvous, timeouts, device)?,
            _ => {
                let listen = Listen::Host(self.address.to_owned());
                gloo::connect(membership, rendezvous, timeouts, &listen)?
            }
        };
        Ok(Arc::new(group))
    }

    /// The failure of a rank that lost its peers: its own, or what follows from being called off.
    fn torn(&self, error: &CollectiveError) -> JobError {
        match error {
            _ if self.progress.stop_or_drain_asked() => JobError::called_off().afresh(),
            // What is not installed stays so.
            CollectiveError::Library { .. } => JobError::new(ErrorClass::Fatal, error),
            _ => JobError::new(ErrorClass::Transient, error).afresh(),
        }
    }

    fn train(&self, device: Device, ranks: Ranks<'_>) -> Result<Outcome, JobError> {
        let plan = self.plan;
        let bad =
            |error: &(dyn std::error::Error + 'static)| JobError::new(ErrorClass::BadInput, error);
        let key = plan.key().map_err(|error| bad(&error))?;
        // A large store is longer on its way through the digest than a lease lives.
        let watch = |_| {
            self.progress.live();
            if self.progress.stop_or_drain_asked() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let slices_of = |subjects: &[String]| -> Result<Arc<dyn TrainingData>, JobError> {
            let images = self.slices.images();
            let slices = StoreSlices::open(images, subjects, plan.data.scaling, &watch)
                .map_err(|error| unread(&error))?;
            Ok(Arc::new(Cached::new(slices, CACHE_BYTES)))
        };
        let validates = plan.train.validate_every > 0 && !plan.validation.is_empty();
        let request = TrainRequest {
            role: plan.network,
            network: plan.config.clone(),
            train: plan.train.clone(),
            data: slices_of(&plan.data.subjects)?,
            validation: validates.then(|| slices_of(&plan.validation)).transpose()?,
            checkpoints: &self.checkpoints.join(plan.network.name()),
            device,
            identity: Identity {
                spec: key,
                data: plan.data.digest,
            },
            ranks,
            generation: Some(self.rank.generation),
            kind: Kind::Float,
        };
        let progress = self.progress;
        let GangRank {
            generation, world, ..
        } = self.rank;
        let measured = self.metrics.begin(plan.network, generation, world);
        let outcome = train(&request, &mut |at| {
            progress.reach(at.step);
            progress.note(format!(
                "loss {:.4}, {:.1} images/s",
                at.loss, at.images_per_second
            ));
            progress.set_interlude(at.interlude);
            measured.step(&TrainStep {
                took: at.took,
                allreduce: at.summing,
                samples: at.samples as u64,
                loss: at.loss,
                saved: at.saved,
            });
            if progress.stop_or_drain_asked() {
                Control::Stop
            } else {
                Control::Continue
            }
        })
        .map_err(|error| match &error {
            TrainError::Collective(lost) => self.torn(lost),
            _ => failure(&error),
        })?;
        if outcome.step < plan.train.steps {
            return Ok(Outcome::Stopped);
        }
        Ok(self.done(key, self.artifacts.put_file(&outcome.ema)?))
    }

    /// Trains nothing, step by step, and leaves weights that depend on the plan alone.
    pub(super) fn pretend(&self, fake: &mut FakeDevice) -> Result<Outcome, JobError> {
        let key = self
            .plan
            .key()
            .map_err(|error: PlanError| JobError::new(ErrorClass::BadInput, &error))?;
        if !self.gather()? {
            return Ok(Outcome::Stopped);
        }
        fake.begin_batch()
            .map_err(|error| JobError::new(ErrorClass::Transient, &error))?;
        for step in 0..self.plan.train.steps {
            if self.progress.stop_or_drain_asked() {
                return Ok(Outcome::Stopped);
            }
            if !fake.delay().is_zero() {
                std::thread::sleep(fake.delay());
            }
            self.progress.reach(step + 1);
        }
        if !self.rank.is_first() {
            return Ok(self.wait_for_the_first());
        }
        let bytes =
            weights::trained(&key).map_err(|error| JobError::new(ErrorClass::Fatal, &error))?;
        Ok(self.done(key, self.artifacts.put(&bytes)?))
    }

    /// Waits until every rank is here; false when they do not come.
    fn gather(&self) -> Result<bool, JobError> {
        let GangRank { rank, world, .. } = self.rank;
        if world == 1 {
            return Ok(true);
        }
        let place = |rank: u32| format!("here/{rank}");
        match self.meeting.read(&place(rank), Duration::ZERO) {
            Ok(None) => {}
            Ok(Some(_)) => {
                self.wait_for_the_end_of_a_lost_gang();
                return Ok(false);
            }
            Err(MeetingError::CalledOff) => return Ok(false),
            Err(error) => return Err(unmet(error)),
        }
        self.meeting.post(&place(rank), &[1]).map_err(unmet)?;
        for other in (0..world).filter(|other| *other != rank) {
            match self.meeting.read(&place(other), GATHERING) {
                Ok(Some(_)) => {}
                Ok(None) => {
                    tracing::warn!(rank, other, "a rank of this training does not come");
                    return Ok(false);
                }
                Err(MeetingError::CalledOff) => return Ok(false),
                Err(error) => return Err(unmet(error)),
            }
        }
        Ok(true)
    }

    /// Somebody was this rank of this generation before, and is not any more: the generation is lost, and what its ranks
    /// wrote to each other leads to nobody. The coordinator calls it off at its next look; until then, or for a while
    /// where there is none, the rank stays here rather than go round in the queue.
    fn wait_for_the_end_of_a_lost_gang(&self) {
        tracing::info!(
            rank = self.rank.rank,
            generation = self.rank.generation,
            "this rank was another's: its gang is over"
        );
        let until = Instant::now() + LOST;
        while !self.progress.stop_or_drain_asked() && Instant::now() < until {
            self.progress.live();
            std::thread::sleep(WAIT_EVERY);
        }
    }

    /// The first rank delivers the weights; then the coordinator calls the others off.
    fn wait_for_the_first(&self) -> Outcome {
        while !self.progress.stop_or_drain_asked() {
            self.progress.live();
            std::thread::sleep(WAIT_EVERY);
        }
        Outcome::Stopped
    }

    /// Steps of earlier attempts were counted nowhere, so the whole training is what the weights cost.
    fn done(&self, key: Digest, weights: Digest) -> Outcome {
        Outcome::Done(JobResult {
            entries: vec![(key, weights)],
            evaluations: self.plan.train.steps * self.plan.train.batch,
            padding: 0,
        })
    }
}

fn unmet(error: MeetingError) -> JobError {
    match error {
        MeetingError::CalledOff => JobError::called_off(),
        error @ MeetingError::Queue(_) => JobError::new(ErrorClass::Transient, &error),
    }
}

/// Another worker may have a store that is whole.
fn unread(error: &StoreError) -> JobError {
    match error {
        StoreError::Stopped => JobError::called_off(),
        StoreError::Disk(_) => JobError::new(ErrorClass::Transient, error).own(),
        _ => JobError::new(ErrorClass::Transient, error),
    }
}

fn failure(error: &TrainError) -> JobError {
    match error {
        // Nearly always a full disk, where the next worker may have another.
        TrainError::Checkpoint(_) => JobError::new(ErrorClass::Transient, error).own(),
        TrainError::Loader(_) => JobError::new(ErrorClass::Transient, error),
        _ => JobError::new(ErrorClass::BadInput, error),
    }
}
