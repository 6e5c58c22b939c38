//! The kernels run on the CPU, a thread for each of a block, and compile for the GPUs of today.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anofpdm_common::random::{Domain, Stream};

use super::*;

/// One normalisation of random maps.
#[derive(Debug, Clone, Copy)]
struct Case {
    /// Rows and channels of each part.
    parts: &'static [[i64; 2]],
    side: [i64; 2],
    groups: i64,
    branches: usize,
    silu: bool,
    /// Added to all values, in units of their spread.
    mean: f64,
}

const CASE: Case = Case {
    parts: &[[2, 64]],
    side: [8, 8],
    groups: 32,
    branches: 1,
    silu: true,
    mean: 0.0,
};

/// The program of `emulated.cpp` for two kinds; to compile it takes longer than to run it.
struct Emulator {
    kind: Kind,
    out: Kind,
    folder: tempfile::TempDir,
}

impl Emulator {
    fn compile(kind: Kind, out: Kind) -> Self {
        let emulator = Self {
            kind,
            out,
            folder: tempfile::tempdir().unwrap(),
        };
        let macros = macros(number(kind).unwrap(), number(out).unwrap());
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
        let status = Command::new(&compiler)
            .args(["-std=c++20", "-O1", "-pthread"])
            .args(macros.map(|word| format!("-D{word}")))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/shim/emulated.cpp"))
            .arg("-o")
            .arg(emulator.program())
            .status()
            .unwrap();
        assert!(status.success(), "{compiler}");
        emulator
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("emulated")
    }
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    let bytes = tensor.contiguous().view(-1).view_dtype(Kind::Uint8);
    Vec::try_from(&bytes).unwrap()
}

/// Runs a normalisation as `GpuGroupNorm::launch` does, and says what came out, as float64.
fn emulated(norm: &GpuGroupNorm<'_>, program: &Path) -> Tensor {
    let plan = norm.plan().unwrap();
    let mut input = Vec::new();
    let ints = |input: &mut Vec<u8>, values: &[i64]| {
        for value in values {
            input.extend(i32::try_from(*value).unwrap().to_ne_bytes());
        }
    };
    let grids = |input: &mut Vec<u8>, launch: &Launch| {
        for side in [launch.grid, launch.block].concat() {
            input.extend(side.to_ne_bytes());
        }
    };
    let branches = i64::try_from(norm.affines.len()).unwrap();
    let count = i64::try_from(norm.parts.len()).unwrap();
    let sizes = [
        norm.rows,
        plan.pixels,
        plan.chunk,
        plan.chunks,
        branches,
        i64::from(norm.silu),
        count,
    ];
    ints(&mut input, &sizes);
    for (part, moments) in norm.parts.iter().zip(&plan.moments) {
        ints(&mut input, &[part.size()[0], part.size()[3]]);
        input.extend(bytes(part));
        grids(&mut input, moments);
    }
    for (gain, _) in norm.affines {
        input.extend(bytes(gain));
    }
    for (_, offset) in norm.affines {
        input.extend(bytes(offset));
    }
    grids(&mut input, &plan.lines);
    grids(&mut input, &plan.apply);
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(&input).unwrap();
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let size = [norm.rows, plan.height, plan.width, plan.channels];
    Tensor::from_data_size(&output.stdout, &size, norm.out).to_kind(Kind::Double)
}

/// libtorch's own, in float64.
fn expected(norm: &GpuGroupNorm<'_>) -> Tensor {
    let wide: Vec<Tensor> = norm
        .parts
        .iter()
        .map(|part| {
            let times = norm.rows / part.size()[0];
            let part = part.to_kind(Kind::Double).permute([0, 3, 1, 2]);
            Tensor::cat(&(0..times).map(|_| &part).collect::<Vec<_>>(), 0)
        })
        .collect();
    let joined = Tensor::cat(&wide, 1).contiguous();
    let share = norm.rows / i64::try_from(norm.affines.len()).unwrap();
    let results: Vec<Tensor> = norm
        .affines
        .iter()
        .zip(0_i64..)
        .map(|((gain, offset), branch)| {
            let (gain, offset) = (gain.to_kind(Kind::Double), offset.to_kind(Kind::Double));
            joined.narrow(0, branch * share, share).group_norm(
                norm.groups,
                Some(&gain),
                Some(&offset),
                norm.eps,
                false,
            )
        })
        .collect();
    let normed = Tensor::cat(&results, 0);
    let normed = if norm.silu { normed.silu() } else { normed };
    normed.permute([0, 2, 3, 1])
}

/// Largest distance from libtorch's own.
fn distance(emulator: &Emulator, case: &Case) -> f64 {
    let mut stream = Stream::new(7, Domain::ScoringNoise, 0, 0);
    let mut random = |size: &[i64]| {
        let count = size.iter().product::<i64>();
        let values: Vec<f64> = (0..count).map(|_| stream.gaussian_pair().0).collect();
        Tensor::from_slice(&values).to_kind(Kind::Float).view(size)
    };
    let parts: Vec<Tensor> = case
        .parts
        .iter()
        .map(|[rows, channels]| {
            (random(&[*rows, case.side[0], case.side[1], *channels]) + case.mean)
                .to_kind(emulator.kind)
        })
        .collect();
    let channels: i64 = case.parts.iter().map(|[_, channels]| channels).sum();
    let affines: Vec<(Tensor, Tensor)> = (0..case.branches)
        .map(|_| (random(&[channels]) + 1.0, random(&[channels])))
        .collect();
    let affines: Vec<(&Tensor, &Tensor)> = affines.iter().map(|(g, o)| (g, o)).collect();
    let norm = GpuGroupNorm {
        parts: &parts,
        rows: parts.iter().map(|part| part.size()[0]).max().unwrap(),
        groups: case.groups,
        eps: 1e-5,
        affines: &affines,
        silu: case.silu,
        out: emulator.out,
    };
    let (ours, theirs) = (emulated(&norm, &emulator.program()), expected(&norm));
    // The last rounding is relative to the value.
    let apart = (ours - &theirs) / (theirs.abs() + 1.0);
    apart.abs().max().double_value(&[])
}

#[test]
fn maps_of_every_kind() {
    let lower = [(Kind::Half, 6e-4), (Kind::BFloat16, 5e-3)];
    for (kind, tolerance) in lower.into_iter().chain([(Kind::Float, 2e-6)]) {
        let apart = distance(&Emulator::compile(kind, kind), &CASE);
        assert!(apart < tolerance, "{kind:?}: {apart:e}");
        // The network's output is float32 whatever came in.
        let apart = distance(&Emulator::compile(kind, Kind::Float), &CASE);
        assert!(apart < 2e-6, "{kind:?} to float32: {apart:e}");
    }
}

#[test]
fn sizes_that_leave_threads_idle() {
    let cases = [
        // One channel of a tile of 128, one pixel; more channels than a tile.
        Case {
            parts: &[[1, 4]],
            side: [1, 2],
            groups: 1,
            ..CASE
        },
        Case {
            parts: &[[1, 160]],
            side: [3, 3],
            ..CASE
        },
        // Chunks that do not divide the pixels; more channels a group than threads.
        Case {
            parts: &[[2, 136]],
            side: [19, 23],
            groups: 2,
            ..CASE
        },
        // More than the largest number of chunks at the smallest size.
        Case {
            parts: &[[1, 32]],
            side: [65, 47],
            silu: false,
            ..CASE
        },
    ];
    let emulator = Emulator::compile(Kind::Float, Kind::Float);
    for case in cases {
        let apart = distance(&emulator, &case);
        assert!(apart < 2e-6, "{case:?}: {apart:e}");
    }
}

#[test]
fn parts_and_branches() {
    let cases = [
        // The second part has the rows of one label; a group has channels of both.
        Case {
            parts: &[[4, 32], [2, 64]],
            groups: 8,
            branches: 2,
            ..CASE
        },
        // One map for all labels.
        Case {
            parts: &[[6, 32]],
            branches: 3,
            ..CASE
        },
        Case {
            parts: &[[1, 64], [3, 32]],
            branches: 3,
            ..CASE
        },
    ];
    let emulator = Emulator::compile(Kind::Float, Kind::Float);
    for case in cases {
        let apart = distance(&emulator, &case);
        assert!(apart < 2e-6, "{case:?}: {apart:e}");
    }
}

#[test]
fn a_mean_far_from_zero_costs_nothing() {
    // float32 squares would leave a variance of noise; what is left is the rounding of the values themselves.
    let emulator = Emulator::compile(Kind::Float, Kind::Float);
    let apart = distance(&emulator, &Case { mean: 1e4, ..CASE });
    assert!(apart < 2e-3, "{apart:e}");
}

#[test]
fn what_the_kernels_do_not_serve_is_left_to_libtorch() {
    let map = |size: &[i64], kind| Tensor::zeros(size, (kind, Device::Cpu));
    let gain = map(&[32], Kind::Float);
    let served = |parts: &[Tensor], rows, groups, affines: &[(&Tensor, &Tensor)]| {
        let (eps, silu, out) = (1e-5, true, Kind::Float);
        let norm = GpuGroupNorm {
            parts,
            rows,
            groups,
            eps,
            affines,
            silu,
            out,
        };
        norm.plan().is_some()
    };
    let one = [(&gain, &gain)];
    let whole = map(&[2, 4, 4, 32], Kind::Float);
    assert!(served(&[whole.shallow_clone()], 2, 32, &one));
    for (parts, rows, groups, affines) in [
        (vec![], 2, 32, &one[..]),
        (vec![whole.permute([0, 2, 1, 3])], 2, 32, &one[..]),
        (vec![whole.shallow_clone()], 3, 32, &one[..]),
        (vec![whole.shallow_clone()], 2, 5, &one[..]),
        (vec![whole.shallow_clone()], 2, 32, &[]),
        (vec![map(&[2, 4, 4, 30], Kind::Float)], 2, 30, &one[..]),
        (vec![map(&[2, 4, 4, 28], Kind::Float)], 2, 28, &one[..]),
        (
            vec![
                map(&[2, 4, 4, 16], Kind::Float),
                map(&[2, 4, 2, 16], Kind::Float),
            ],
            2,
            32,
            &one[..],
        ),
        (
            vec![
                map(&[2, 4, 4, 16], Kind::Float),
                map(&[2, 4, 4, 16], Kind::Half),
            ],
            2,
            32,
            &one[..],
        ),
    ] {
        assert!(
            !served(&parts, rows, groups, affines),
            "{parts:?} {rows} {groups}"
        );
    }
    let gain = map(&[32], Kind::Half);
    assert!(!served(&[whole], 2, 32, &[(&gain, &gain)]));
}

#[test]
fn the_kernels_compile_for_the_gpus_of_today() {
    for (input, out) in [(0, 0), (1, 1), (1, 0), (2, 2), (2, 0)] {
        // A100, H100 and H200, B200.
        for architecture in ["sm_80", "sm_90", "sm_100"] {
            match kernel::compile(SOURCE, architecture, &macros(input, out)) {
                Ok(image) => assert!(image.starts_with(b"\x7fELF"), "an image of the driver's"),
                Err(error) if error.0.contains("cannot open shared object") => {
                    println!("skipped: the run-time compiler is not installed ({error})");
                    return;
                }
                Err(error) => panic!("{architecture}: {error}"),
            }
        }
    }
    let broken = kernel::compile("__global__ void f() { g(); }", "sm_90", &[]).unwrap_err();
    assert!(broken.0.contains("\"g\" is undefined"), "{broken}");
}
