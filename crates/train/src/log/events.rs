//! TensorBoard's event files: records of protocol buffers, each with two checksums.
//!
//! The messages are the few fields of TensorFlow's `event.proto`, `summary.proto` and
//! `tensor.proto` that are written here. It knows no run.
//!
//! ```text
//! record = length: u64 · masked(crc32c(length)) · data · masked(crc32c(data))    little endian
//! masked(crc) = rotate_right(crc, 15) + 0xa282ead8
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use super::{RecordError, failed};

/// The first record of every file.
const VERSION: &str = "brain.Event:2";

/// `DT_STRING` of `types.proto`.
const DT_STRING: i32 = 7;

/// `DATA_CLASS_TENSOR` of `summary.proto`.
const DATA_CLASS_TENSOR: i32 = 2;

/// `START` of `SessionLog`.
const SESSION_START: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<SummaryValue>,
}

#[derive(Clone, PartialEq, Message)]
struct SummaryValue {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "8")]
    tensor: Option<TensorProto>,
    #[prost(message, optional, tag = "9")]
    metadata: Option<SummaryMetadata>,
}

#[derive(Clone, PartialEq, Message)]
struct SummaryMetadata {
    #[prost(message, optional, tag = "1")]
    plugin_data: Option<PluginData>,
    #[prost(int32, tag = "4")]
    data_class: i32,
}

#[derive(Clone, PartialEq, Message)]
struct PluginData {
    #[prost(string, tag = "1")]
    plugin_name: String,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    tensor_shape: Option<TensorShape>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    string_val: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorShape {
    #[prost(message, repeated, tag = "2")]
    dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
struct Dim {
    #[prost(int64, tag = "1")]
    size: i64,
}

/// One open event file.
#[derive(Debug)]
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a new file in a folder; what earlier files have from `first_step` on is void.
    pub(super) fn create(folder: &Path, first_step: u64) -> Result<Self, RecordError> {
        fs::create_dir_all(folder).map_err(failed(folder, "made"))?;
        let (path, file) = create_new(folder)?;
        let mut events = Self { path, file };
        events.write(&Event { file_version: Some(VERSION.to_owned()), ..event(0) })?;
        let session_log = Some(SessionLog { status: SESSION_START });
        events.write(&Event { session_log, ..event(first_step) })?;
        Ok(events)
    }

    /// Adds numbers.
    pub(super) fn scalars(&mut self, step: u64, scalars: &[(&str, f32)]) -> Result<(), RecordError> {
        let value = |(tag, value): &(&str, f32)| SummaryValue {
            tag: (*tag).to_owned(),
            simple_value: Some(*value),
            ..SummaryValue::default()
        };
        let summary = Some(Summary { value: scalars.iter().map(value).collect() });
        self.write(&Event { summary, ..event(step) })
    }

    /// Adds a text.
    pub(super) fn text(&mut self, step: u64, tag: &str, text: &str) -> Result<(), RecordError> {
        let value = SummaryValue {
            tag: tag.to_owned(),
            simple_value: None,
            tensor: Some(TensorProto {
                dtype: DT_STRING,
                tensor_shape: Some(TensorShape { dim: vec![Dim { size: 1 }] }),
                string_val: vec![text.as_bytes().to_vec()],
            }),
            metadata: Some(SummaryMetadata {
                plugin_data: Some(PluginData { plugin_name: "text".to_owned() }),
                data_class: DATA_CLASS_TENSOR,
            }),
        };
        self.write(&Event { summary: Some(Summary { value: vec![value] }), ..event(step) })
    }

    /// Waits until everything is on disk.
    pub(super) fn sync(&self) -> Result<(), RecordError> {
        self.file.sync_all().map_err(failed(&self.path, "synced"))
    }

    fn write(&mut self, event: &Event) -> Result<(), RecordError> {
        self.file.write_all(&framed(&event.encode_to_vec())).map_err(failed(&self.path, "written"))
    }
}

/// A file of a name that no other has: TensorBoard reads them in the order of their names.
fn create_new(folder: &Path) -> Result<(PathBuf, File), RecordError> {
    let seconds = since_epoch() as u64;
    for number in 0u32.. {
        let path = folder.join(format!("events.out.tfevents.{seconds:010}.{number:03}.tercet"));
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&path, "made")(error)),
        }
    }
    unreachable!("create_new: the numbers do not end before the names do")
}

fn event(step: u64) -> Event {
    Event { wall_time: since_epoch(), step: step.cast_signed(), ..Event::default() }
}

/// Seconds since 1970; 0 where the clock says earlier.
fn since_epoch() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// A record with its length and checksums.
fn framed(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend_from_slice(&masked(&length).to_le_bytes());
    record.extend_from_slice(data);
    record.extend_from_slice(&masked(data).to_le_bytes());
    record
}

fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a file, after their frames were checked.
    fn read(path: &Path) -> Vec<Event> {
        let bytes = fs::read(path).unwrap();
        let mut rest = bytes.as_slice();
        let mut events = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let record = &rest[..length + 16];
            assert_eq!(record, framed(&record[12..12 + length]));
            events.push(Event::decode(&record[12..12 + length]).unwrap());
            rest = &rest[length + 16..];
        }
        events
    }

    #[test]
    fn a_frame_is_that_of_tensorflow() {
        // The first record of a file of TensorFlow 2, whose data are a wall time of 0 and the version.
        let data = b"\x1a\x0dbrain.Event:2";
        let record = framed(data);
        assert_eq!(&record[..8], [15, 0, 0, 0, 0, 0, 0, 0]);
        // CRC-32C of "123456789" is the check value of the polynomial.
        assert_eq!(masked(b"123456789"), 0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8));
        let event = Event { file_version: Some(VERSION.to_owned()), ..Event::default() };
        assert_eq!(event.encode_to_vec(), data);
    }

    #[test]
    fn what_is_written_decodes() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = EventFile::create(folder.path(), 5).unwrap();
        file.scalars(5, &[("loss/train", 2.5), ("lambda", 1.0)]).unwrap();
        file.text(6, "sample", "Once").unwrap();
        file.sync().unwrap();
        let events = read(&file.path);
        assert_eq!(events[0].file_version.as_deref(), Some(VERSION));
        assert_eq!((events[1].step, events[1].session_log.as_ref().unwrap().status), (5, SESSION_START));
        let values = &events[2].summary.as_ref().unwrap().value;
        assert_eq!((values[0].tag.as_str(), values[0].simple_value), ("loss/train", Some(2.5)));
        assert_eq!((values[1].tag.as_str(), values[1].simple_value), ("lambda", Some(1.0)));
        let text = &events[3].summary.as_ref().unwrap().value[0];
        assert_eq!(text.tensor.as_ref().unwrap().string_val, [b"Once"]);
        assert!(events.iter().all(|event| event.wall_time > 0.0));
    }

    #[test]
    fn files_of_one_second_have_names_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> =
            (0..3).map(|step| EventFile::create(folder.path(), step).unwrap().path).collect();
        assert!(paths.is_sorted() && paths[0] != paths[1] && paths[1] != paths[2], "{paths:?}");
    }
}
