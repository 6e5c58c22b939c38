//! A rank of the check of several: a process of its own, so that it can be killed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

use super::args::RankArgs;
use crate::collective::gloo::{self, LOOPBACK, Listen};
use crate::collective::{Group, Membership, Rendezvous, Timeouts, nccl};
use crate::shim::training::drop_gradients;

/// For all ranks to appear, and for one operation: a lost rank is noticed after at most this.
pub(super) const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(120),
    operation: Duration::from_secs(20),
};
/// What a rank says when its sums agree.
pub(super) const AGREED: &str = "sums agree";
/// What it says when another one is gone.
pub(super) const LOST: &str = "another rank is lost";
/// Sums until a rank must have been lost.
const SUMS: usize = 1_000_000;
/// Values of a sum.
const VALUES: i64 = 4096;

/// Connects, compares sums, copies and gradients with what they must be, and then waits to lose a peer if asked to.
///
/// # Errors
/// When the ranks do not find each other, or a result is wrong.
pub fn run(args: &RankArgs) -> Result<()> {
    let device = args.device.open()?;
    let membership = Membership {
        rank: args.rank,
        world: args.world,
    };
    let rendezvous: Arc<dyn Rendezvous> = Arc::new(FileRendezvous {
        folder: args.rendezvous.clone(),
    });
    let group = match device {
        Device::Cuda(_) => nccl::connect(membership, rendezvous, TIMEOUTS, device)?,
        _ => {
            let listen = Listen::Host(LOOPBACK.to_owned());
            gloo::connect(membership, rendezvous, TIMEOUTS, &listen)?
        }
    };
    agree(&group, membership, device)?;
    println!("{AGREED}");
    if !args.until_lost {
        return Ok(());
    }
    let ramp = ramp(device);
    for _ in 0..SUMS {
        if let Err(error) = group.all_reduce(&ramp.shallow_clone()) {
            println!("{LOST}: {error}");
            return Ok(());
        }
        drop(ramp.shallow_clone().fill_(1.0));
    }
    anyhow::bail!("no rank was lost in {SUMS} sums")
}

fn ramp(device: Device) -> Tensor {
    Tensor::arange(VALUES, (Kind::Float, device))
}

/// Whole numbers, whose sums are exact in any order.
fn agree(group: &Group, membership: Membership, device: Device) -> Result<()> {
    let Membership { rank, world } = membership;
    let own = i64::try_from(rank)? + 1;
    let world = i64::try_from(world)?;
    let shares = world * (world + 1) / 2;

    let sum = ramp(device) * own;
    group.all_reduce(&sum)?;
    ensure!(
        sum == ramp(device) * shares,
        "a sum over the ranks is wrong"
    );
    let copy = ramp(device) * own;
    group.broadcast(&copy, 0)?;
    ensure!(
        copy == ramp(device),
        "what rank 0 has is not what others hear"
    );
    group.barrier(TIMEOUTS.operation)?;

    let weight = ramp(device).set_requires_grad(true);
    let mut gradients = group.gradient_sum(&[&weight])?;
    for pass in 0..3 {
        gradients.backward(&(&weight * own).sum(Kind::Float))?;
        if pass == 0 {
            gradients.settle_order()?;
        }
        let all = Tensor::full([VALUES], shares, (Kind::Float, device));
        ensure!(weight.grad() == all, "gradients over the ranks are wrong");
        drop_gradients(&[&weight])?;
    }
    Ok(())
}

/// Keys as files of a folder that all ranks see.
#[derive(Debug)]
struct FileRendezvous {
    folder: PathBuf,
}

/// How often a key is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl FileRendezvous {
    /// A key may hold what a file name must not.
    fn path(&self, key: &str) -> PathBuf {
        self.folder
            .join(blake3::hash(key.as_bytes()).to_hex().as_str())
    }
}

impl Rendezvous for FileRendezvous {
    fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        let path = self.path(key);
        let begun = path.with_extension(std::process::id().to_string());
        std::fs::write(&begun, value)
            .and_then(|()| std::fs::rename(&begun, &path))
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    fn get(&self, key: &str, wait: Duration) -> Result<Option<Vec<u8>>, String> {
        let path = self.path(key);
        let start = Instant::now();
        loop {
            match std::fs::read(&path) {
                Ok(value) => return Ok(Some(value)),
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(format!("{}: {error}", path.display()));
                }
                Err(_) if start.elapsed() >= wait => return Ok(None),
                Err(_) => std::thread::sleep(LOOK_EVERY),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::selftest::setting::Setting;

    #[test]
    fn keys_are_found_by_others_and_waited_for() {
        let setting = Setting::quick_cpu().unwrap();
        let folder = setting.folder("keys").unwrap();
        let [one, other] = [(); 2].map(|()| FileRendezvous {
            folder: folder.clone(),
        });
        assert_eq!(one.get("a/b", Duration::ZERO), Ok(None));
        let waiting = std::thread::spawn(move || other.get("a/b", Duration::from_secs(60)));
        one.set("a/b", b"here").unwrap();
        assert_eq!(waiting.join().unwrap(), Ok(Some(b"here".to_vec())));
        one.set("a/b", b"again").unwrap();
        assert_eq!(one.get("a/b", Duration::ZERO), Ok(Some(b"again".to_vec())));
        assert_eq!(one.get("c", Duration::ZERO), Ok(None));
    }
}
