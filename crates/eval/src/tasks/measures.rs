//! What the responses to one example are worth.
//!
//! It knows numbers and texts, and neither models nor other examples.

use std::borrow::Cow;

use regex::Regex;

use super::description::{MetricName, Which};
use super::examples::Example;
use super::form::{AnswerFilter, Generation};
use super::parts::Parts;
use super::task::Task;
use super::text;
use crate::Response;

/// What is left where a filter finds no answer.
const NO_ANSWER: &str = "[invalid]";

/// The measures of one example, by each way to read the responses.
#[derive(Debug, Clone, PartialEq)]
pub struct Measures {
    /// One for each filter of the task, or one that is called `none`.
    pub filtered: Vec<Filtered>,
}

/// Responses as read by a filter, and what they are worth.
#[derive(Debug, Clone, PartialEq)]
pub struct Filtered {
    /// The filter's name.
    pub filter: String,
    /// The responses as it leaves them, in the order of the requests.
    pub responses: Vec<FilteredResponse>,
    /// Each metric of the task.
    pub values: Vec<(&'static str, Value)>,
}

/// A response as a filter leaves it.
#[derive(Debug, Clone, PartialEq)]
pub enum FilteredResponse {
    /// A log-likelihood in nats, and whether greedy decoding gives the continuation.
    LogLikelihood(f64, bool),
    /// A log-likelihood in nats.
    Rolling(f64),
    /// The answer found.
    Text(String),
}

/// The value of a metric for one example.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// One of which the mean is taken: 0 or 1, or a log-likelihood.
    Number(f64),
    /// A log-likelihood in nats and what it is divided by, words or bytes.
    Weighted {
        /// Of the whole text.
        log_likelihood: f64,
        /// Words or bytes in it.
        weight: u64,
    },
}

impl Task {
    /// What responses to an example of this task are worth.
    ///
    /// # Panics
    /// Unless there is a response of its kind to each request.
    pub fn measure(&self, example: &Example, responses: &[Response]) -> Measures {
        assert_eq!(responses.len(), example.requests.len(), "measure: a response to each request");
        let unfiltered = |values| {
            let responses = responses.iter().map(|response| match response {
                Response::LogLikelihood { log_likelihood, is_greedy } => {
                    FilteredResponse::LogLikelihood(*log_likelihood, *is_greedy)
                }
                Response::Rolling { log_likelihood } => FilteredResponse::Rolling(*log_likelihood),
                Response::Generated { text } => FilteredResponse::Text(text.clone()),
            });
            let responses = responses.collect();
            Measures { filtered: vec![Filtered { filter: "none".to_owned(), responses, values }] }
        };
        match &example.parts {
            Parts::MultipleChoice { choices, gold, .. } => {
                unfiltered(self.choice_values(choices, *gold, responses))
            }
            Parts::MultipleContext { contexts, gold, .. } => {
                unfiltered(self.choice_values(contexts, *gold, responses))
            }
            Parts::Continuation { .. } => {
                let (log_likelihood, is_greedy) = log_likelihood(&responses[0]);
                unfiltered(self.values(|metric| match metric {
                    MetricName::Perplexity => Value::Number(log_likelihood),
                    _ => truth(is_greedy),
                }))
            }
            Parts::Rolling { words, bytes, .. } => {
                let Response::Rolling { log_likelihood } = &responses[0] else {
                    panic!("measure: a response of the kind of its request")
                };
                let log_likelihood = *log_likelihood;
                unfiltered(self.values(|metric| match metric {
                    MetricName::WordPerplexity => Value::Weighted { log_likelihood, weight: *words },
                    _ => Value::Weighted { log_likelihood, weight: *bytes },
                }))
            }
            Parts::Generate { target, .. } => {
                let Response::Generated { text } = &responses[0] else {
                    panic!("measure: a response of the kind of its request")
                };
                self.answers(target, text)
            }
        }
    }

    fn values(&self, value: impl Fn(MetricName) -> Value) -> Vec<(&'static str, Value)> {
        self.metrics.iter().map(|metric| (metric.name(), value(*metric))).collect()
    }

    /// Whether the likeliest is the right one, as it is and by its length.
    fn choice_values(
        &self,
        choices: &[String],
        gold: usize,
        responses: &[Response],
    ) -> Vec<(&'static str, Value)> {
        let scores: Vec<f64> = responses.iter().map(|response| log_likelihood(response).0).collect();
        let by_length = |length: fn(&str) -> usize| {
            let scores: Vec<f64> =
                scores.iter().zip(choices).map(|(score, choice)| score / length(choice) as f64).collect();
            greatest(&scores)
        };
        self.values(|metric| {
            let chosen = match metric {
                MetricName::AccNorm => by_length(|choice| choice.chars().count()),
                MetricName::AccBytes => by_length(str::len),
                _ => greatest(&scores),
            };
            truth(chosen == gold)
        })
    }

    fn answers(&self, target: &str, text: &str) -> Measures {
        let none = [];
        let filters = self.generation().map_or(&none[..], |generation| &generation.filters);
        let measured = |filter: &str, answer: String| {
            let is_right = is_same(self.generation(), &answer, target);
            Filtered {
                filter: filter.to_owned(),
                values: self.values(|_| truth(is_right)),
                responses: vec![FilteredResponse::Text(answer)],
            }
        };
        if filters.is_empty() {
            return Measures { filtered: vec![measured("none", text.to_owned())] };
        }
        let filtered = filters.iter().map(|filter| measured(&filter.name, answer(filter, text)));
        Measures { filtered: filtered.collect() }
    }
}

fn truth(is_true: bool) -> Value {
    Value::Number(if is_true { 1.0 } else { 0.0 })
}

fn log_likelihood(response: &Response) -> (f64, bool) {
    match response {
        Response::LogLikelihood { log_likelihood, is_greedy } => (*log_likelihood, *is_greedy),
        _ => panic!("measure: a response of the kind of its request"),
    }
}

/// The place of the greatest, the first of equals; the first that is not a number, if there is one.
///
/// As `numpy.argmax`.
fn greatest(scores: &[f64]) -> usize {
    if let Some(place) = scores.iter().position(|score| score.is_nan()) {
        return place;
    }
    let mut greatest = 0;
    for (place, score) in scores.iter().enumerate() {
        if *score > scores[greatest] {
            greatest = place;
        }
    }
    greatest
}

/// The answer that a filter finds: the first group that matched, or the whole match.
fn answer(filter: &AnswerFilter, text: &str) -> String {
    let mut matches = filter.regex.captures_iter(text);
    let found = match filter.which {
        Which::First => matches.next(),
        Which::Last => matches.last(),
    };
    let Some(found) = found else { return NO_ANSWER.to_owned() };
    let groups = found.len() - 1;
    let answer = match groups {
        0 => found.get(0).map(|whole| whole.as_str()),
        1 => Some(found.get(1).map_or("", |group| group.as_str())),
        _ => found.iter().skip(1).flatten().map(|group| group.as_str()).find(|group| !group.is_empty()),
    };
    answer.map_or_else(|| NO_ANSWER.to_owned(), |answer| text::strip(answer).to_owned())
}

/// Whether two texts are the same but for what the task ignores.
fn is_same(generation: Option<&Generation>, one: &str, two: &str) -> bool {
    let Some(generation) = generation else { return one == two };
    compared(generation, one) == compared(generation, two)
}

fn compared(generation: &Generation, text: &str) -> String {
    let without = |text: Cow<'_, str>, expression: &Regex| expression.replace_all(&text, "").into_owned();
    let mut text =
        generation.ignore.iter().fold(text.to_owned(), |text, expression| without(text.into(), expression));
    if generation.ignore_case {
        text = text.to_lowercase();
    }
    if generation.ignore_punctuation {
        text.retain(|character| !character.is_ascii_punctuation());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equals_is_the_greatest() {
        assert_eq!(greatest(&[-1.0, -0.5, -0.5]), 1);
        assert_eq!(greatest(&[f64::NEG_INFINITY, f64::NEG_INFINITY]), 0);
        assert_eq!(greatest(&[-1.0, f64::NAN, 0.0]), 1);
    }

    #[test]
    fn answers_of_gsm8k_are_found_as_in_the_harness() {
        let selection = crate::tasks::find(&["gsm8k"]).expect("known");
        let check = |text: &str, strict: (&str, f64), flexible: (&str, f64)| {
            let measures = selection.tasks[0].answers("He has 3 of 1,200.\n#### 1,200", text);
            let found: Vec<(&FilteredResponse, Value)> =
                measures.filtered.iter().map(|read| (&read.responses[0], read.values[0].1)).collect();
            let [strict, flexible] = [strict, flexible]
                .map(|(text, value)| (FilteredResponse::Text(text.to_owned()), Value::Number(value)));
            assert_eq!(found, [(&strict.0, strict.1), (&flexible.0, flexible.1)], "{text}");
        };
        check("So 1200 it is.\n#### 1200", ("1200", 1.0), ("1200", 1.0));
        check("#### $1,200", ("[invalid]", 0.0), ("$1,200", 1.0));
        check("#### 1,200. Or 7", ("1,200.", 1.0), ("7", 0.0));
        check("It is 1200.", ("[invalid]", 0.0), ("1200.", 1.0));
        check("#### -5 #### 1200", ("-5", 0.0), ("1200", 1.0));
        check("none", ("[invalid]", 0.0), ("[invalid]", 0.0));
    }
}
