//! The files of a run's record, continued where a checkpoint left them.
//!
//! Every line is written at once, so that `tail -f` shows it. It does not know when something is
//! recorded.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::events::EventFile;
use super::rows::{CSV_HEADER, TIMINGS_HEADER};
use super::{
    CSV_FILE, CURVES_FILE, EventRecord, LOG_FILE, RecordError, Row, SampleRecord, StepRecord,
    TENSORBOARD_FOLDER, TIMINGS_FILE, TimingRecord, ValidationRecord, draw_curves, failed, read_rows,
};

/// Where the record of a run stands: what a checkpoint keeps of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Positions {
    /// Bytes of `log.jsonl`.
    pub log: u64,
    /// Bytes of `log.csv`.
    pub csv: u64,
    /// Bytes of `timings.csv`.
    pub timings: u64,
}

/// A record that has lost lines since a checkpoint was saved. The run goes on behind its last whole line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: found {found} bytes, expected {expected}; lines of the record are lost")]
#[expect(missing_docs, reason = "the message says what each field is")]
pub struct Shorter {
    pub path: PathBuf,
    pub found: u64,
    pub expected: u64,
}

/// The open files of a run's record.
#[derive(Debug)]
pub struct Recorder {
    folder: PathBuf,
    log: Lines,
    csv: Lines,
    timings: Lines,
    events: EventFile,
}

impl Recorder {
    /// Begins the record of a run in its output folder, which is made if it is not there. Lines of
    /// an earlier run that never came to a checkpoint go.
    ///
    /// # Errors
    /// [`RecordError`] names the file that could not be opened.
    pub fn create(folder: &Path) -> Result<Self, RecordError> {
        Self::resume(folder, &Positions::default(), 0).map(|(recorder, _)| recorder)
    }

    /// Continues the record of a run from a checkpoint of so many steps: what was recorded after
    /// it goes, so that nothing stands twice.
    ///
    /// TensorBoard's files stay; a new one says that their events after the checkpoint are void,
    /// which TensorBoard heeds for numbers, and shows texts of both.
    ///
    /// # Errors
    /// [`RecordError`] names the file that could not be opened or cut. Files that are shorter than
    /// they were are no error but returned.
    pub fn resume(
        folder: &Path,
        positions: &Positions,
        step: u64,
    ) -> Result<(Self, Vec<Shorter>), RecordError> {
        fs::create_dir_all(folder).map_err(failed(folder, "made"))?;
        let mut shorter = Vec::new();
        let mut open = |file: &str, header: &str, length: u64| {
            let (lines, lost) = Lines::open(folder.join(file), header, length)?;
            shorter.extend(lost);
            Ok(lines)
        };
        let log = open(LOG_FILE, "", positions.log)?;
        let csv = open(CSV_FILE, CSV_HEADER, positions.csv)?;
        let timings = open(TIMINGS_FILE, TIMINGS_HEADER, positions.timings)?;
        let events = EventFile::create(&folder.join(TENSORBOARD_FOLDER), step + 1)?;
        Ok((Self { folder: folder.to_owned(), log, csv, timings, events }, shorter))
    }

    /// Where the record stands.
    pub fn positions(&self) -> Positions {
        Positions { log: self.log.length, csv: self.csv.length, timings: self.timings.length }
    }

    /// Records a step.
    ///
    /// # Errors
    /// [`RecordError`] names the file that could not be written; so do the others.
    pub fn step(&mut self, record: &StepRecord) -> Result<(), RecordError> {
        self.row(&Row::Step(*record))?;
        let mut scalars = vec![
            ("loss/train", record.loss),
            ("learning_rate", record.learning_rate),
            ("weight_decay", record.weight_decay),
            ("gradient_norm", record.gradient_norm),
            ("lambda", record.lambda),
            ("epoch", record.epoch as f32),
        ];
        scalars.extend(record.teacher_loss.map(|loss| ("loss/teacher", loss)));
        if let Some(shares) = record.ternary {
            scalars.extend([
                ("flips", shares.flips),
                ("weights/minus", shares.minus),
                ("weights/zero", shares.zero),
                ("weights/plus", shares.plus),
            ]);
        }
        self.events.scalars(record.step, &scalars)
    }

    /// Records how long a step took.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn timing(&mut self, record: &TimingRecord) -> Result<(), RecordError> {
        self.timings.write(&record.csv_line())?;
        let mut scalars = vec![("tokens_per_s", record.tokens_per_s as f32)];
        scalars.extend(record.ceiling_share.map(|share| ("ceiling_share", share as f32)));
        self.events.scalars(record.step, &scalars)
    }

    /// Records a validation.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn validation(&mut self, record: &ValidationRecord) -> Result<(), RecordError> {
        self.row(&Row::Validation(*record))?;
        let mut scalars =
            vec![("loss/validation", record.loss as f32), ("perplexity", record.perplexity as f32)];
        scalars.extend(record.bits_per_byte.map(|bits| ("bits_per_byte", bits as f32)));
        self.events.scalars(record.step, &scalars)
    }

    /// Records text of the model.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn sample(&mut self, record: &SampleRecord) -> Result<(), RecordError> {
        self.row(&Row::Sample(record.clone()))?;
        self.events.text(record.step, "sample", &record.text)
    }

    /// Records something that happened.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn event(&mut self, record: &EventRecord) -> Result<(), RecordError> {
        self.row(&Row::Event(record.clone()))?;
        self.events.text(record.step, "event", &record.message)
    }

    /// Draws `curves.svg` of everything recorded so far.
    ///
    /// # Errors
    /// [`RecordError`] if the record cannot be read back, or the file not be written.
    pub fn draw(&self, title: &str) -> Result<(), RecordError> {
        draw_curves(&self.folder.join(CURVES_FILE), title, &self.rows()?)
    }

    /// Reads back everything recorded so far.
    ///
    /// # Errors
    /// As [`read_rows`].
    pub fn rows(&self) -> Result<Vec<Row>, RecordError> {
        read_rows(&self.log.path)
    }

    /// Waits until everything is on disk.
    ///
    /// # Errors
    /// [`RecordError`] names the file that the system could not write.
    pub fn sync(&self) -> Result<(), RecordError> {
        for lines in [&self.log, &self.csv, &self.timings] {
            lines.file.sync_all().map_err(failed(&lines.path, "synced"))?;
        }
        self.events.sync()
    }

    fn row(&mut self, row: &Row) -> Result<(), RecordError> {
        self.log.write(&row.json_line())?;
        row.csv_line().map_or(Ok(()), |line| self.csv.write(&line))
    }
}

/// One file that grows line by line.
#[derive(Debug)]
struct Lines {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Lines {
    /// Opens a file, cut to a length, or where it is shorter to its last whole line; an empty one begins with its
    /// header.
    fn open(path: PathBuf, header: &str, expected: u64) -> Result<(Self, Option<Shorter>), RecordError> {
        let opened = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let mut file = opened.map_err(failed(&path, "opened"))?;
        let found = file.metadata().map_err(failed(&path, "examined"))?.len();
        let length = if found < expected {
            end_of_last_line(&mut file, found).map_err(failed(&path, "read"))?
        } else {
            expected
        };
        if length < found {
            file.set_len(length).map_err(failed(&path, "cut"))?;
        }
        let shorter = (found < expected).then(|| Shorter { path: path.clone(), found, expected });
        let mut lines = Self { path, file, length };
        if lines.length == 0 {
            lines.write(header)?;
        }
        Ok((lines, shorter))
    }

    fn write(&mut self, text: &str) -> Result<(), RecordError> {
        self.file.write_all(text.as_bytes()).map_err(failed(&self.path, "written"))?;
        self.length += text.len() as u64;
        Ok(())
    }
}

/// Where the last whole line of so many bytes ends: what comes next must not go on with half of one.
fn end_of_last_line(file: &mut File, mut end: u64) -> io::Result<u64> {
    const STEP_BYTES: u64 = 1 << 16;
    let mut bytes = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(STEP_BYTES);
        bytes.resize((end - start) as usize, 0);
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut bytes)?;
        if let Some(place) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + place as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::{step, validation};
    use super::*;

    fn record(recorder: &mut Recorder, steps: std::ops::RangeInclusive<u64>) {
        for number in steps {
            recorder.step(&step(number)).unwrap();
            let (seconds, tokens_per_s) = (0.5, 128.0);
            let ceiling_share = Some(0.25);
            recorder.timing(&TimingRecord { step: number, seconds, tokens_per_s, ceiling_share }).unwrap();
            if number % 3 == 0 {
                recorder.validation(&validation(number)).unwrap();
                recorder.sample(&SampleRecord { step: number, text: "Once\nupon".to_owned() }).unwrap();
            }
        }
    }

    /// The files that two equal runs have in common.
    fn files(folder: &Path) -> [Vec<u8>; 3] {
        [LOG_FILE, CSV_FILE, TIMINGS_FILE].map(|file| fs::read(folder.join(file)).unwrap())
    }

    #[test]
    fn a_resumed_record_equals_an_uninterrupted_one() {
        let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        record(&mut Recorder::create(whole.path()).unwrap(), 1..=10);

        let mut recorder = Recorder::create(parts.path()).unwrap();
        record(&mut recorder, 1..=4);
        let positions = recorder.positions();
        record(&mut recorder, 5..=7);
        drop(recorder);
        // A kill in the middle of a line.
        let mut log = OpenOptions::new().append(true).open(parts.path().join(LOG_FILE)).unwrap();
        log.write_all(b"{\"kind\":").unwrap();
        let (mut recorder, shorter) = Recorder::resume(parts.path(), &positions, 4).unwrap();
        assert!(shorter.is_empty());
        record(&mut recorder, 5..=10);
        recorder.sync().unwrap();
        assert_eq!(files(parts.path()), files(whole.path()));
        let events = fs::read_dir(parts.path().join(TENSORBOARD_FOLDER)).unwrap().count();
        assert_eq!(events, 2);
    }

    #[test]
    fn a_run_without_a_checkpoint_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        record(&mut Recorder::create(folder.path()).unwrap(), 1..=4);
        let first = files(folder.path());
        record(&mut Recorder::create(folder.path()).unwrap(), 1..=4);
        assert_eq!(files(folder.path()), first);
    }

    #[test]
    fn every_line_is_there_at_once_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::create(folder.path()).unwrap();
        record(&mut recorder, 1..=3);
        recorder.event(&EventRecord { step: 3, message: "spike".to_owned() }).unwrap();
        let rows = recorder.rows().unwrap();
        assert_eq!(rows.iter().map(Row::step).collect::<Vec<_>>(), [1, 2, 3, 3, 3, 3]);
        assert_eq!(rows[0], Row::Step(step(1)));
        assert_eq!(recorder.positions().log, fs::metadata(folder.path().join(LOG_FILE)).unwrap().len());
        let csv = fs::read_to_string(folder.path().join(CSV_FILE)).unwrap();
        assert_eq!(csv.lines().count(), 1 + 4);
        assert!(csv.starts_with("step,tokens,"));
    }

    #[test]
    fn a_shortened_record_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::create(folder.path()).unwrap();
        record(&mut recorder, 1..=4);
        let positions = recorder.positions();
        fs::remove_file(folder.path().join(CSV_FILE)).unwrap();
        let (recorder, shorter) = Recorder::resume(folder.path(), &positions, 4).unwrap();
        assert_eq!(shorter.len(), 1);
        let message = shorter[0].to_string();
        assert!(message.contains("log.csv: found 0 bytes, expected"), "{message}");
        assert_eq!(recorder.positions().csv, CSV_HEADER.len() as u64);
    }

    #[test]
    fn a_record_cut_within_a_line_goes_on_behind_the_last_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::create(folder.path()).unwrap();
        record(&mut recorder, 1..=4);
        // Longer than is looked at together.
        recorder.sample(&SampleRecord { step: 4, text: "long ".repeat(1 << 15) }).unwrap();
        let positions = recorder.positions();
        for file in [LOG_FILE, CSV_FILE, TIMINGS_FILE] {
            let path = folder.path().join(file);
            let length = fs::metadata(&path).unwrap().len();
            OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 3).unwrap();
        }
        let (mut recorder, shorter) = Recorder::resume(folder.path(), &positions, 4).unwrap();
        assert_eq!(shorter.len(), 3);
        record(&mut recorder, 5..=5);
        let steps: Vec<u64> = recorder.rows().unwrap().iter().map(Row::step).collect();
        assert_eq!(steps, [1, 2, 3, 3, 3, 4, 5]);
        for (file, header) in [(CSV_FILE, CSV_HEADER), (TIMINGS_FILE, TIMINGS_HEADER)] {
            let text = fs::read_to_string(folder.path().join(file)).unwrap();
            let columns = |line: &str| line.split(',').count();
            assert!(text.lines().all(|line| columns(line) == columns(header)), "{text}");
        }
        assert_eq!(recorder.positions().log, fs::metadata(folder.path().join(LOG_FILE)).unwrap().len());
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(CSV_FILE)).unwrap();
        let message = Recorder::create(folder.path()).unwrap_err().to_string();
        assert!(message.contains("log.csv: cannot be opened"), "{message}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.path().join(LOG_FILE)).unwrap();
        let mut recorder = Recorder::create(folder.path()).unwrap();
        let message = recorder.step(&step(1)).unwrap_err().to_string();
        assert!(message.contains("log.jsonl: cannot be written"), "{message}");
    }
}
