//! What is recorded of a run, and how it reads.
//!
//! Fields stand in a fixed order and floats in the shortest form that reads back the same, so
//! equal runs give equal bytes. It knows no files but the one it is asked to read.
//!
//! ```text
//! {"kind":"step","step":1,"tokens":64,"epoch":0.01,"loss":5.5,"learning_rate":0.001,…}
//! {"kind":"validation","step":100,"loss":2.5,"perplexity":12.2,"bits_per_byte":1.1}
//! {"kind":"sample","step":100,"text":"Once upon"}
//! {"kind":"event","step":100,"message":"…"}
//! ```
//!
//! A number that is not finite is null, as JSON has no other word.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};

use super::{RecordError, failed};

/// The longest line that is read back.
const LINE_MAX_BYTES: u64 = 1 << 24;

/// One line of `log.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Row {
    /// One step of training.
    Step(StepRecord),
    /// One validation.
    Validation(ValidationRecord),
    /// Text of the model.
    Sample(SampleRecord),
    /// Something that happened.
    Event(EventRecord),
}

/// One step of training. Only what is the same whenever the run is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The steps done, this one included.
    pub step: u64,
    /// The tokens read so far.
    pub tokens: u64,
    /// The passes over the data so far.
    #[serde(deserialize_with = "number")]
    pub epoch: f64,
    /// The mean loss of the step's tokens, in nats.
    #[serde(deserialize_with = "number32")]
    pub loss: f32,
    /// The teacher's part of it, if there is a teacher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher_loss: Option<f32>,
    /// The learning rate.
    #[serde(deserialize_with = "number32")]
    pub learning_rate: f32,
    /// The weight decay of matrices.
    #[serde(deserialize_with = "number32")]
    pub weight_decay: f32,
    /// The global norm of the gradients before clipping.
    #[serde(deserialize_with = "number32")]
    pub gradient_norm: f32,
    /// How far weights are quantised, 0 to 1.
    #[serde(deserialize_with = "number32")]
    pub lambda: f32,
    /// What the ternary weights are; none in a dense model.
    #[serde(flatten)]
    pub ternary: Option<TernaryShares>,
}

/// What ternary weights are, as shares of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TernaryShares {
    /// Those whose code changed since the step before.
    pub flips: f32,
    /// Those that are -1.
    pub minus: f32,
    /// Those that are 0.
    pub zero: f32,
    /// Those that are 1.
    pub plus: f32,
}

/// One validation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ValidationRecord {
    /// The steps done.
    pub step: u64,
    /// The mean loss of a token, in nats.
    #[serde(deserialize_with = "number")]
    pub loss: f64,
    /// `e^loss`.
    #[serde(deserialize_with = "number")]
    pub perplexity: f64,
    /// Bits a byte of text, which models with different tokenizers can be compared by; none where
    /// the bytes are not known.
    pub bits_per_byte: Option<f64>,
}

/// Text of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleRecord {
    /// The steps done.
    pub step: u64,
    /// Prompt and continuation.
    pub text: String,
}

/// Something that happened, such as a loss spike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// The steps done.
    pub step: u64,
    /// What.
    pub message: String,
}

/// How long a step took; in no file that two runs are compared by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimingRecord {
    /// The steps done, this one included.
    pub step: u64,
    /// Seconds that it took: batches, forward, backward and the change of the weights, and nothing between steps.
    pub seconds: f64,
    /// Tokens a second.
    pub tokens_per_s: f64,
    /// The share of the machine's limit that was reached; none where it is not known.
    pub ceiling_share: Option<f64>,
}

/// The columns of `log.csv`.
pub(super) const CSV_HEADER: &str = "step,tokens,epoch,loss,teacher_loss,learning_rate,weight_decay,gradient_norm,\
     lambda,flips,minus,zero,plus,validation_loss,perplexity,bits_per_byte\n";

/// The columns of `timings.csv`.
pub(super) const TIMINGS_HEADER: &str = "step,seconds,tokens_per_s,ceiling_share\n";

impl Row {
    /// The steps done.
    pub fn step(&self) -> u64 {
        match self {
            Self::Step(row) => row.step,
            Self::Validation(row) => row.step,
            Self::Sample(row) => row.step,
            Self::Event(row) => row.step,
        }
    }

    /// The line of `log.jsonl`, with its end.
    pub(super) fn json_line(&self) -> String {
        let line = serde_json::to_string(self).expect("records have string keys and no failing fields");
        line + "\n"
    }

    /// The line of `log.csv`, if it has numbers.
    pub(super) fn csv_line(&self) -> Option<String> {
        let optional = |value: Option<f32>| value.map_or_else(String::new, |value| value.to_string());
        match self {
            Self::Step(row) => {
                let StepRecord { step, tokens, epoch, loss, learning_rate, weight_decay, .. } = row;
                let StepRecord { gradient_norm, lambda, .. } = row;
                let teacher_loss = optional(row.teacher_loss);
                let [flips, minus, zero, plus] = match row.ternary {
                    Some(shares) => {
                        [shares.flips, shares.minus, shares.zero, shares.plus].map(|x| x.to_string())
                    }
                    None => Default::default(),
                };
                Some(format!(
                    "{step},{tokens},{epoch},{loss},{teacher_loss},{learning_rate},{weight_decay},\
                     {gradient_norm},{lambda},{flips},{minus},{zero},{plus},,,\n"
                ))
            }
            Self::Validation(ValidationRecord { step, loss, perplexity, bits_per_byte }) => {
                let bits_per_byte = bits_per_byte.map_or_else(String::new, |bits| bits.to_string());
                let empty = ",".repeat(12);
                Some(format!("{step}{empty},{loss},{perplexity},{bits_per_byte}\n"))
            }
            Self::Sample(_) | Self::Event(_) => None,
        }
    }
}

impl TimingRecord {
    /// The line of `timings.csv`.
    pub(super) fn csv_line(&self) -> String {
        let Self { step, seconds, tokens_per_s, ceiling_share } = self;
        let ceiling_share = ceiling_share.map_or_else(String::new, |share| share.to_string());
        format!("{step},{seconds},{tokens_per_s},{ceiling_share}\n")
    }
}

/// Reads the rows of a `log.jsonl`. A last line without an end, as a killed run may leave, is
/// passed over.
///
/// # Errors
/// [`RecordError`] names the file and the line that is no record.
pub fn read_rows(path: &Path) -> Result<Vec<Row>, RecordError> {
    let mut file = BufReader::new(File::open(path).map_err(failed(path, "opened"))?);
    let mut rows = Vec::new();
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let read = (&mut file).take(LINE_MAX_BYTES).read_until(b'\n', &mut text);
        read.map_err(failed(path, "read"))?;
        if text.last() != Some(&b'\n') {
            if text.len() as u64 == LINE_MAX_BYTES {
                return Err(RecordError::TooLong {
                    path: path.to_owned(),
                    line,
                    limit_bytes: LINE_MAX_BYTES,
                });
            }
            break;
        }
        let row = serde_json::from_slice(&text).map_err(|error| RecordError::Row {
            path: path.to_owned(),
            line,
            detail: error.to_string(),
        })?;
        rows.push(row);
    }
    Ok(rows)
}

/// A number, or null for one that was not finite.
fn number<'de, D: Deserializer<'de>>(value: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or(f64::NAN))
}

/// A number, or null for one that was not finite.
fn number32<'de, D: Deserializer<'de>>(value: D) -> Result<f32, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or(f32::NAN))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A step with numbers that have no short binary form.
    pub(in super::super) fn step(step: u64) -> StepRecord {
        StepRecord {
            step,
            tokens: 64 * step,
            epoch: 0.1 * step as f64,
            loss: 5.0 / step as f32 + 1.1,
            teacher_loss: None,
            learning_rate: 1.5e-3,
            weight_decay: 0.1,
            gradient_norm: 0.7,
            lambda: 1.0,
            ternary: Some(TernaryShares { flips: 0.01, minus: 0.3, zero: 0.4, plus: 0.3 }),
        }
    }

    pub(in super::super) fn validation(step: u64) -> ValidationRecord {
        ValidationRecord { step, loss: 2.5, perplexity: 12.25, bits_per_byte: Some(1.1) }
    }

    #[track_caller]
    fn check(row: Row, json: &str, csv: Option<&str>) {
        assert_eq!(row.json_line(), format!("{json}\n"));
        assert_eq!(row.csv_line(), csv.map(|csv| format!("{csv}\n")));
        if let Some(csv) = csv {
            assert_eq!(csv.split(',').count(), CSV_HEADER.split(',').count());
        }
        let back: Row = serde_json::from_str(json).unwrap();
        assert_eq!(back.json_line(), row.json_line());
    }

    #[test]
    fn fields_have_a_fixed_order_and_floats_are_short() {
        check(
            Row::Step(step(1)),
            r#"{"kind":"step","step":1,"tokens":64,"epoch":0.1,"loss":6.1,"learning_rate":0.0015,"weight_decay":0.1,"gradient_norm":0.7,"lambda":1.0,"flips":0.01,"minus":0.3,"zero":0.4,"plus":0.3}"#,
            Some("1,64,0.1,6.1,,0.0015,0.1,0.7,1,0.01,0.3,0.4,0.3,,,"),
        );
        check(
            Row::Validation(validation(7)),
            r#"{"kind":"validation","step":7,"loss":2.5,"perplexity":12.25,"bits_per_byte":1.1}"#,
            Some("7,,,,,,,,,,,,,2.5,12.25,1.1"),
        );
        check(
            Row::Sample(SampleRecord { step: 7, text: "a \"b\"\n".to_owned() }),
            r#"{"kind":"sample","step":7,"text":"a \"b\"\n"}"#,
            None,
        );
        check(
            Row::Event(EventRecord { step: 7, message: "spike".to_owned() }),
            r#"{"kind":"event","step":7,"message":"spike"}"#,
            None,
        );
    }

    #[test]
    fn a_dense_step_with_a_teacher_says_so() {
        check(
            Row::Step(StepRecord { ternary: None, teacher_loss: Some(0.5), ..step(1) }),
            r#"{"kind":"step","step":1,"tokens":64,"epoch":0.1,"loss":6.1,"teacher_loss":0.5,"learning_rate":0.0015,"weight_decay":0.1,"gradient_norm":0.7,"lambda":1.0}"#,
            Some("1,64,0.1,6.1,0.5,0.0015,0.1,0.7,1,,,,,,,"),
        );
    }

    #[test]
    fn a_loss_that_is_not_finite_is_null() {
        let row = Row::Step(StepRecord { loss: f32::NAN, gradient_norm: f32::INFINITY, ..step(1) });
        let line = row.json_line();
        assert!(line.contains(r#""loss":null"#) && line.contains(r#""gradient_norm":null"#), "{line}");
        let Row::Step(back) = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
        assert!(back.loss.is_nan());
    }

    #[test]
    fn a_line_that_is_no_record_is_named_and_a_cut_one_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let line = Row::Step(step(1)).json_line();
        std::fs::write(&path, format!("{line}{line}{}", &line[..9])).unwrap();
        assert_eq!(read_rows(&path).unwrap().len(), 2);
        std::fs::write(&path, format!("{line}{{}}\n")).unwrap();
        let message = read_rows(&path).unwrap_err().to_string();
        assert!(message.contains("log.jsonl:2: is no record"), "{message}");
    }
}
