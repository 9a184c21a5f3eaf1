//! Training runs that are killed: at random instants, and while a checkpoint is being written.
//!
//! Every run is then taken to its end by the same command, and must leave the same SHA-256 of
//! weights, optimizer and record as one that nobody disturbed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use tercet::digest::hex;
use tercet::random::mix;

use crate::process;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Kills at random instants.
    #[arg(long, default_value_t = 100)]
    random: u32,
    /// Kills while a checkpoint is being written.
    #[arg(long, default_value_t = 100)]
    window: u32,
    /// Seeds the instants.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The folder that a checkpoint is written into before it has its name.
const PARTIAL: &str = ".partial-step-";
/// What must be the same.
const RESULTS: [&str; 5] = [
    "model/model.safetensors",
    "checkpoints/step-00000080/model.safetensors",
    "checkpoints/step-00000080/optimizer.safetensors",
    "log.jsonl",
    "log.csv",
];
const CONFIG: &str = r#"
[run]
output = "OUTPUT"
[model]
hidden_size = 64
intermediate_size = 96
num_hidden_layers = 2
num_attention_heads = 4
[data]
train = ["text.txt"]
sequence_length = 32
cache = "cache"
[tokenizer]
vocab_size = 512
[train]
steps = 80
micro_batch = 8
[watch]
validate_every = 0
validation_sequences = 4
sample_every = 40
sample_tokens = 4
save_every = 4
"#;

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    process::run(&mut process::command("cargo", &["build", "--release"]))?;
    let folder = tempfile::tempdir()?;
    let soak = Soak { binary: process::root().join("target/release/tercet"), folder: folder.path() };
    soak.write_files()?;
    // The first run makes the tokens, the second is timed.
    soak.finish("warm")?;
    let started = Instant::now();
    soak.finish("whole")?;
    let whole = started.elapsed();
    let want = soak.digest("whole")?;
    println!("an undisturbed run takes {:.2} s and leaves {}", whole.as_secs_f64(), &want[..16]);

    let mut random = arguments.seed;
    let mut equal = [0, 0];
    let mut inside = 0;
    for number in 0..arguments.random + arguments.window {
        let is_window = number >= arguments.random;
        let name = format!("run-{number}");
        random = mix(random);
        let share = random as f64 / u64::MAX as f64;
        let what = if is_window {
            let is_inside = soak.kill_in_window(&name, (share * 18.0) as u32)?;
            inside += u32::from(is_inside);
            if is_inside { "killed inside a checkpoint" } else { "killed beside a checkpoint" }.to_owned()
        } else {
            let instant = whole.mul_f64(share);
            soak.kill_after(&name, instant)?;
            format!("killed after {:.3} s", instant.as_secs_f64())
        };
        soak.finish(&name)?;
        let is_equal = soak.digest(&name)? == want;
        equal[usize::from(is_window)] += u32::from(is_equal);
        println!("{name}: {what}: {}", if is_equal { "the same" } else { "DIFFERENT" });
        fs::remove_dir_all(folder.path().join(&name))?;
    }
    println!(
        "random: {} of {} equal; window: {} of {} equal ({inside} inside)",
        equal[0], arguments.random, equal[1], arguments.window
    );
    ensure!(equal == [arguments.random, arguments.window], "a killed run ended in other bytes");
    Ok(())
}

struct Soak<'a> {
    binary: PathBuf,
    folder: &'a Path,
}

impl Soak<'_> {
    fn write_files(&self) -> Result<()> {
        let words = ["a", "river", "runs", "past", "old", "stones", "and", "the", "mill"];
        let mut state = 7;
        let mut word = || {
            state = mix(state);
            words[(state % words.len() as u64) as usize]
        };
        let lines = (0..2000).map(|_| format!("{} {} {} {}.\n", word(), word(), word(), word()));
        fs::write(self.folder.join("text.txt"), lines.collect::<String>())?;
        fs::write(self.folder.join("run.toml"), CONFIG)?;
        Ok(())
    }

    fn start(&self, output: &str) -> Result<Child> {
        let mut command = Command::new(&self.binary);
        command.args(["train", "run.toml", "--quiet", "--output", output]).current_dir(self.folder);
        command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
        command.spawn().context("cannot start tercet")
    }

    /// Runs, or goes on, to the end.
    fn finish(&self, output: &str) -> Result<()> {
        let status = self.start(output)?.wait()?;
        ensure!(status.success(), "{output}: tercet train failed: {status}");
        Ok(())
    }

    fn kill_after(&self, output: &str, instant: Duration) -> Result<()> {
        let mut child = self.start(output)?;
        std::thread::sleep(instant);
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Kills in the writing of a checkpoint, after so many that are let pass; whether one was
    /// really being written.
    fn kill_in_window(&self, output: &str, let_pass: u32) -> Result<bool> {
        let mut child = self.start(output)?;
        let checkpoints = self.folder.join(output).join("checkpoints");
        let mut passed = 0;
        let mut was_partial = false;
        while child.try_wait()?.is_none() {
            let is_partial = has_partial(&checkpoints);
            if is_partial && !was_partial {
                if passed == let_pass {
                    break;
                }
                passed += 1;
            }
            was_partial = is_partial;
        }
        child.kill()?;
        child.wait()?;
        Ok(has_partial(&checkpoints))
    }

    /// One digest of all results.
    fn digest(&self, output: &str) -> Result<String> {
        let mut hash = Sha256::new();
        for file in RESULTS {
            let path = self.folder.join(output).join(file);
            hash.update(fs::read(&path).with_context(|| path.display().to_string())?);
        }
        Ok(hex(&hash.finalize()))
    }
}

fn has_partial(checkpoints: &Path) -> bool {
    let Ok(entries) = checkpoints.read_dir() else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(PARTIAL))
}
