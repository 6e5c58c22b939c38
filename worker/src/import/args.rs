//! The arguments of `import`.

use std::path::PathBuf;

use anofpdm_common::network::Arch;
use clap::Args;

const EXAMPLE: &str = "\
Examples:
  anofpdm-worker import ema_0.9999_210000.pt --arch v2 --heads 4 -o weights/brats21/guided/weights.safetensors

  With a small network that lies in the repository:
  gunzip -c worker/tests/import/fixtures/v2-zip-f32.pt.gz >/tmp/small.pt
  anofpdm-worker import /tmp/small.pt --arch v2 --heads 4 -o /tmp/small/weights.safetensors";

/// Turns a checkpoint of the public code (a `.pt` state dict) into safetensors and a configuration.
///
/// The architecture is read off names and shapes of the tensors, and every shape is checked against
/// the network built from it. What the weights cannot tell should be said: the heads, and the image
/// size where the widths are those of no published network. Nothing in the file is run.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLE)]
pub struct ImportArgs {
    /// The checkpoint: written by torch.save, zip or legacy
    #[arg(value_name = "CKPT.pt")]
    pub checkpoint: PathBuf,
    /// Family: v2 (AnoFPDM), v1 (its baselines, the guided-diffusion family) or classifier
    #[arg(long, value_parser = arch)]
    pub arch: Arch,
    /// Attention heads; where absent 4, as the public code, or for a classifier heads of 64 channels
    #[arg(long, value_name = "N")]
    pub heads: Option<i64>,
    /// Side of the images; where absent that of the published network with these widths
    #[arg(long, value_name = "PIXELS")]
    pub image_size: Option<i64>,
    /// Configuration, instead of one read off the tensors
    #[arg(long, value_name = "C.json", conflicts_with_all = ["heads", "image_size"])]
    pub config: Option<PathBuf>,
    /// Which network of a configuration that holds several
    #[arg(long, value_name = "NAME", requires = "config")]
    pub network: Option<String>,
    /// Where in the file the weights are, e.g. state_dict
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// The weights; config.json is written beside them, so each network needs a folder of its own
    #[arg(short, long, value_name = "M.safetensors")]
    pub output: PathBuf,
    /// Replace other weights and another network's config.json that lie there
    #[arg(long)]
    pub force: bool,
}

fn arch(text: &str) -> Result<Arch, String> {
    [Arch::V2, Arch::V1, Arch::Classifier]
        .into_iter()
        .find(|arch| arch.name() == text)
        .ok_or_else(|| "one of v2, v1, classifier".to_owned())
}
