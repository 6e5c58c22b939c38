//! `anofpdm upload`: a slice store into an object store.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use anofpdm_common::store::location::{Location, LocationError};
use anofpdm_common::store::object::ObjectUrl;
use anofpdm_common::store::slices::{SliceStore, StoreError, Uploaded};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::print_json;
use crate::run::signals::Interrupt;
use crate::screen;

/// Copy a slice store into an object store, where a spec (`[data] store`) and workers (--data) may name it; once more to
/// begin anew after an interruption
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… AWS_REGION=eu-central-1\n  anofpdm upload stores/brats21 s3://my-bucket/stores/brats21\n\nAddresses: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX. Credentials and server are those\nof the environment (docs/fleet.md). What is there is never overwritten."
)]
pub struct UploadArgs {
    /// Folder of a finished store
    store: PathBuf,
    /// Where it goes
    #[arg(value_parser = parse_target)]
    url: ObjectUrl,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// An address in an object store that can be written to.
pub(super) fn parse_target(text: &str) -> Result<ObjectUrl, String> {
    let location = text
        .parse()
        .map_err(|error: LocationError| error.to_string())?;
    match location {
        Location::Remote(url) if url.is_writable() => Ok(url),
        Location::Remote(_) => {
            Err("a web server cannot be written to; s3, gs, az and abfs can".to_owned())
        }
        Location::Local(_) => {
            Err("an address in an object store is expected, e.g. s3://BUCKET/PREFIX".to_owned())
        }
    }
}

pub fn run(args: &UploadArgs) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    let store = SliceStore::open(&args.store)?;
    let subjects: Vec<&str> = store
        .manifest()
        .subjects
        .iter()
        .map(|subject| subject.id.as_str())
        .collect();
    let bytes = store.bytes_of(&subjects);
    let bar = screen::show(
        ProgressBar::new(bytes).with_style(
            ProgressStyle::with_template(
                "upload {bar:30} {bytes}/{total_bytes} {bytes_per_sec} eta {eta}",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
        ),
    );
    let uploaded = store.upload(&args.url, &|went| {
        bar.inc(went);
        match interrupt.check() {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    bar.finish_and_clear();
    let new = match uploaded {
        Ok(uploaded) => uploaded == Uploaded::New,
        Err(StoreError::Stopped) => {
            interrupt.check()?;
            return Err(StoreError::Stopped.into());
        }
        Err(error) => return Err(error.into()),
    };
    if args.json {
        return print_json(&serde_json::json!({
            "url": args.url.to_string(),
            "digest": store.manifest().digest,
            "subjects": subjects.len(),
            "bytes": bytes,
            "new": new,
        }));
    }
    let what = if new { "is in" } else { "was already in" };
    println!(
        "{} ({} subjects) {what} {}",
        args.store.display(),
        subjects.len(),
        args.url
    );
    Ok(ExitCode::SUCCESS)
}
