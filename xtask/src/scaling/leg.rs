//! Some time of training: as many runs at once as wanted, each in a process of its own.
//!
//! Weights do not depend on the number of threads, so runs beside each other are the fastest way through. A run
//! that is stopped saves a checkpoint, and the next leg goes on from it. A leg knows neither what its processes
//! are nor what a run needs: it is given the command.
//!
//! ```text
//! wanted ─► running ─► finished or diverged   kept in the results
//!                  ├─► stopped                for another leg
//!                  └─► failed                 ends the leg, with all that are running stopped
//! ```

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::command::name;
use super::plan::{self, Outcome, Run};
use super::record;
use super::results::Results;

const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// What `tercet train` ends with after a closed terminal, Ctrl-C and SIGTERM: 128 and the signal's number.
const EXITS_STOPPED: [i32; 3] = [129, 130, 143];
/// What it ends with after an error, of which a divergence is one.
const EXIT_FAILED: i32 = 1;

pub(super) struct Leg<'a> {
    /// Takes a folder for each run, and beside it what the run says.
    pub(super) folder: &'a Path,
    /// The command of a run that writes into a folder.
    pub(super) command: &'a dyn Fn(&Run, &Path) -> Command,
    /// Steps of a run.
    pub(super) steps: u64,
    /// Runs at once.
    pub(super) jobs: usize,
    /// When it is over.
    pub(super) end: Instant,
    /// Whether it shall be over before that.
    pub(super) is_interrupted: &'a dyn Fn() -> bool,
}

struct Job {
    run: Run,
    output: PathBuf,
    child: Child,
    log: PathBuf,
    /// Bytes of the log that are of earlier legs.
    log_start: u64,
}

impl Leg<'_> {
    /// Trains what is wanted until the time is over, nothing is wanted, or something fails.
    ///
    /// Whatever happens, no process is left behind and what finished is kept.
    pub(super) fn run(&self, results: &mut Results) -> Result<()> {
        let mut running = Vec::new();
        let trained = self.train(&mut running, results);
        running.iter_mut().for_each(stop);
        let mut concluded = Ok(());
        for mut job in running {
            let status = job.child.wait().with_context(|| format!("cannot wait for {}", name(&job.run)));
            let is_kept = status.and_then(|status| self.conclude(&job, status, results));
            concluded = concluded.and(is_kept.map(drop));
        }
        trained.and(concluded)?;
        ensure!(!(self.is_interrupted)(), "interrupted\nhint: the same command goes on");
        Ok(())
    }

    fn train(&self, running: &mut Vec<Job>, results: &mut Results) -> Result<()> {
        // What someone else has stopped is not begun again against their will.
        let mut stopped: Vec<Run> = Vec::new();
        while Instant::now() < self.end && !(self.is_interrupted)() {
            for run in plan::wanted(results.outcomes()) {
                let is_known = stopped.contains(&run) || running.iter().any(|job| job.run == run);
                if !is_known && running.len() < self.jobs {
                    running.push(self.begin(run)?);
                }
            }
            if running.is_empty() {
                break;
            }
            thread::sleep(POLL_INTERVAL);
            stopped.extend(self.take_ended(running, results)?);
        }
        Ok(())
    }

    /// Starts a run, or goes on with it.
    fn begin(&self, run: Run) -> Result<Job> {
        let name = name(&run);
        let output = self.folder.join(&name);
        fs::create_dir_all(&output).with_context(|| format!("cannot make {}", output.display()))?;
        // No `with_extension`: a name has a dot in its learning rate.
        let log = self.folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("cannot open {}", log.display()))?;
        let log_start = file.metadata()?.len();
        let mut command = (self.command)(&run, &output);
        // In a group of its own: a Ctrl-C comes to this program alone, which then stops the run. One that came to
        // both would be the run's first signal of two, and the second ends it without saving.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Job { run, output, child, log, log_start })
    }

    /// Takes all that have ended out of those that are running; gives back the stopped ones, or the first error.
    fn take_ended(&self, running: &mut Vec<Job>, results: &mut Results) -> Result<Vec<Run>> {
        let mut stopped = Vec::new();
        let mut concluded = Ok(());
        for mut job in std::mem::take(running) {
            let status = job.child.try_wait().with_context(|| format!("cannot wait for {}", name(&job.run)));
            let is_stopped = match status {
                Ok(Some(status)) => self.conclude(&job, status, results),
                not_ended => {
                    running.push(job);
                    concluded = concluded.and(not_ended.map(drop));
                    continue;
                }
            };
            match is_stopped {
                Ok(true) => stopped.push(job.run),
                Ok(false) => {}
                Err(error) => concluded = concluded.and(Err(error)),
            }
        }
        concluded.map(|()| stopped)
    }

    /// Keeps what a run ended with; whether it was stopped and so has no end yet.
    fn conclude(&self, job: &Job, status: ExitStatus, results: &mut Results) -> Result<bool> {
        let code = status.code().or(status.signal().map(|signal| 128 + signal));
        if code.is_some_and(|code| EXITS_STOPPED.contains(&code)) {
            println!("{}: stopped, the same command goes on", name(&job.run));
            return Ok(true);
        }
        let outcome = self.outcome(job, status)?;
        if outcome.has_diverged() {
            println!("{}: diverged", name(&job.run));
        } else {
            println!("{}: {:.4} nats a token", name(&job.run), outcome.loss());
        }
        results.add(outcome)?;
        Ok(false)
    }

    fn outcome(&self, job: &Job, status: ExitStatus) -> Result<Outcome> {
        if status.success() {
            return record::finished(job.run, &job.output, self.steps);
        }
        if status.code() == Some(EXIT_FAILED)
            && let Some(step) = record::step_of_divergence(&job.said()?)
        {
            return record::diverged(job.run, &job.output, step);
        }
        bail!("{}: {status}; see {}", name(&job.run), job.log.display())
    }
}

impl Job {
    /// What the process has written to its log.
    fn said(&self) -> Result<String> {
        let mut bytes = Vec::new();
        let read = File::open(&self.log).and_then(|mut log| {
            log.seek(SeekFrom::Start(self.log_start))?;
            log.read_to_end(&mut bytes)
        });
        read.with_context(|| format!("cannot read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for Job {
    /// No process outlives the leg, not even by a panic.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            stop(self);
            // There is nobody left to tell.
            let _ = self.child.wait();
        }
    }
}

/// Asks a run to save and end. One that cannot be asked is killed, and goes on from its last checkpoint.
fn stop(job: &mut Job) {
    let id = job.child.id().to_string();
    let asked = Command::new("kill").args(["-TERM", &id]).status();
    if !asked.is_ok_and(|status| status.success()) {
        // Fails only where the run has ended by itself.
        let _ = job.child.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;

    use tempfile::TempDir;

    use super::super::origin::Origin;
    use super::super::plan::{Arm, SIZES};
    use super::*;

    const STEPS: u64 = 500;
    const HOUR: Duration = Duration::from_secs(3600);
    const NEVER: &dyn Fn() -> bool = &|| false;
    /// Waits until it is asked to end, and says when that can be asked.
    const WAITS: &str = "trap 'exit 143' TERM; echo $$ > pid; while :; do sleep 0.02; done";
    const DIVERGES: &str =
        "echo 'error: step 7: the loss is NaN, expected a finite number' >&2; : > log.jsonl; exit 1";

    /// Leaves a record of one validation, and lets nobody disturb that.
    fn finishes(loss: f64) -> String {
        let numbers = format!(r#""loss":{loss:?},"perplexity":9.0,"bits_per_byte":1.5"#);
        format!(r#"trap '' TERM; echo '{{"kind":"validation","step":{STEPS},{numbers}}}' > log.jsonl"#)
    }

    /// A folder for a leg, and its results.
    fn begun() -> (TempDir, Results) {
        let folder = tempfile::tempdir().unwrap();
        let origin = Origin {
            plan: "p".to_owned(),
            novels: "n".to_owned(),
            instruction_set: "scalar".to_owned(),
            commits: BTreeSet::from(["c".to_owned()]),
        };
        let mut results = Results::open(&folder.path().join("results.json"), "p").unwrap();
        results.begin_leg(origin).unwrap();
        (folder, results)
    }

    /// Runs a leg in which `script` stands for training, as shell commands in the run's folder.
    fn run_leg(
        (folder, results): &mut (TempDir, Results),
        jobs: usize,
        time: Duration,
        is_interrupted: &dyn Fn() -> bool,
        script: impl Fn(&Run) -> String,
    ) -> Result<()> {
        let command = |run: &Run, output: &Path| {
            let mut command = Command::new("sh");
            command.args(["-c", &script(run)]).current_dir(output);
            command
        };
        let (folder, end) = (folder.path(), Instant::now() + time);
        Leg { folder, command: &command, steps: STEPS, jobs, end, is_interrupted }.run(results)
    }

    fn run_of(arm: Arm, rate: i32) -> Run {
        Run { size: 0, arm, rate, seed: 1 }
    }

    /// Whether the process of a run that waits is still there.
    fn lives(folder: &TempDir, run: &Run) -> bool {
        let id = fs::read_to_string(folder.path().join(name(run)).join("pid")).unwrap();
        let asked = Command::new("kill").args(["-0", id.trim()]).stderr(Stdio::null()).status();
        asked.unwrap().success()
    }

    #[test]
    fn a_leg_runs_the_whole_plan_and_a_rate_that_diverges_loses() {
        let mut begun = begun();
        // Of the ternary rates the one before the first that diverges is the best.
        run_leg(&mut begun, 16, HOUR, NEVER, |run| match (run.arm, run.rate) {
            (Arm::Ternary, 3) => DIVERGES.to_owned(),
            (Arm::Ternary, rate) => finishes(5.0 - 0.25 * f64::from(rate)),
            (Arm::Dense, rate) => finishes(3.0 + f64::from((rate - 1).pow(2))),
        })
        .unwrap();
        let (folder, results) = begun;
        let read = Results::open(&folder.path().join("results.json"), "p").unwrap();
        assert_eq!(read.outcomes(), results.outcomes());
        assert!(plan::wanted(read.outcomes()).is_empty());
        for size in 0..SIZES.len() {
            assert_eq!(plan::chosen_rate(read.outcomes(), Arm::Ternary, size), Some(2));
            let diverged = plan::find(read.outcomes(), &Run { size, ..run_of(Arm::Ternary, 3) }).unwrap();
            assert_eq!(diverged.validations, [(7, None)]);
        }
        // No two runs share a log.
        let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log");
        let logs = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(is_log);
        assert_eq!(logs.count(), read.outcomes().len());
    }

    #[test]
    fn after_a_failure_all_are_stopped_and_what_finished_is_kept() {
        let mut begun = begun();
        let [fails, waits, ends] = [1, 2, 3].map(|rate| run_of(Arm::Ternary, rate));
        let result = run_leg(&mut begun, 3, HOUR, NEVER, |run| match *run {
            run if run == fails => {
                let [waits, ends] = [name(&waits), name(&ends)];
                let others = format!("[ -e ../{waits}/pid ] && [ -e ../{ends}/log.jsonl ]");
                format!("until {others}; do sleep 0.02; done; exit 3")
            }
            run if run == ends => finishes(4.0),
            _ => WAITS.to_owned(),
        });
        let (folder, results) = begun;
        let error = result.unwrap_err().to_string();
        let log = folder.path().join("0.33M-ternary-0.002-seed1.log");
        assert_eq!(error, format!("0.33M-ternary-0.002-seed1: exit status: 3; see {}", log.display()));
        assert!(!lives(&folder, &waits));
        let read = Results::open(&folder.path().join("results.json"), "p").unwrap();
        assert_eq!(read.outcomes(), results.outcomes());
        assert_eq!(read.outcomes().iter().map(|outcome| outcome.run).collect::<Vec<_>>(), [ends]);
    }

    #[test]
    fn an_old_divergence_in_the_log_explains_no_new_failure() {
        let mut begun = begun();
        let log = begun.0.path().join(format!("{}.log", name(&run_of(Arm::Ternary, 1))));
        fs::write(log, "error: step 7: the loss is NaN, expected a finite number\n").unwrap();
        let result = run_leg(&mut begun, 1, HOUR, NEVER, |_| "exit 1".to_owned());
        assert!(result.unwrap_err().to_string().contains("exit status: 1"));
        assert!(begun.1.outcomes().is_empty());
    }

    #[test]
    fn an_interrupted_leg_stops_its_runs_and_fails() {
        let mut begun = begun();
        let run = run_of(Arm::Ternary, 1);
        let pid = begun.0.path().join(name(&run)).join("pid");
        let result = run_leg(&mut begun, 1, HOUR, &|| pid.exists(), |_| WAITS.to_owned());
        assert_eq!(result.unwrap_err().to_string(), "interrupted\nhint: the same command goes on");
        assert!(!lives(&begun.0, &run));
        assert!(begun.1.outcomes().is_empty());
    }

    #[test]
    fn nothing_begins_when_the_time_is_over() {
        let mut begun = begun();
        let count = Cell::new(0);
        let script = |_: &Run| {
            count.set(count.get() + 1);
            WAITS.to_owned()
        };
        run_leg(&mut begun, 2, Duration::ZERO, NEVER, script).unwrap();
        assert_eq!(count.get(), 0);
        // What runs when it is over is stopped, and that is no failure.
        run_leg(&mut begun, 2, POLL_INTERVAL, NEVER, script).unwrap();
        assert_eq!(count.get(), 2);
        assert!(begun.1.outcomes().is_empty());
    }

    #[test]
    fn what_someone_else_stops_is_not_begun_again() {
        let mut begun = begun();
        let count = Cell::new(0);
        run_leg(&mut begun, 6, HOUR, NEVER, |run| {
            count.set(count.get() + 1);
            match (run.arm, run.rate) {
                (Arm::Ternary, _) => "kill -TERM $$".to_owned(),
                (Arm::Dense, 0) => "exit 129".to_owned(),
                (Arm::Dense, 1) => "exit 130".to_owned(),
                (Arm::Dense, _) => "exit 143".to_owned(),
            }
        })
        .unwrap();
        assert_eq!(count.get(), 6);
        assert!(begun.1.outcomes().is_empty());
    }
}
