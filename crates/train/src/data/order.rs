//! Which part of the tokens comes when.
//!
//! There are two ways to make sequences. A *stream* is documents one after another, joined to a
//! ring and cut into sequences of one length; what is left between the last and the first is
//! skipped in that epoch. *Packed* sequences hold whole conversations, those that are too long cut
//! at the sequence's length, and padding that does not count. Every epoch shuffles the documents
//! of a stream, turns the ring, and shuffles sequences. All of it is a function of seed and epoch.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tercet::random::finalize;

use super::Batch;
use super::cache::TokenFile;

/// Some documents of a token file.
#[derive(Debug, Clone)]
pub(super) struct Split {
    pub(super) file: Arc<TokenFile>,
    pub(super) part: Part,
}

#[derive(Debug, Clone)]
pub(super) enum Part {
    /// All documents.
    All,
    /// The documents with these indices, ascending.
    Chosen(Vec<u32>),
    /// A range of tokens, whose ends may lie within documents.
    Tokens(Range<u64>, Range<usize>),
}

impl Split {
    pub(super) fn all(file: &Arc<TokenFile>) -> Self {
        Self { file: Arc::clone(file), part: Part::All }
    }

    pub(super) fn chosen(file: &Arc<TokenFile>, documents: Vec<u32>) -> Self {
        Self { file: Arc::clone(file), part: Part::Chosen(documents) }
    }

    pub(super) fn within(file: &Arc<TokenFile>, tokens: Range<u64>) -> Self {
        let starts_after = |token: u64| {
            let (mut low, mut high) = (0, file.documents());
            while low < high {
                let middle = low.midpoint(high);
                if file.document(middle).start < token { low = middle + 1 } else { high = middle }
            }
            low
        };
        let first = starts_after(tokens.start + 1).saturating_sub(1);
        let documents = first..starts_after(tokens.end);
        Self { file: Arc::clone(file), part: Part::Tokens(tokens, documents) }
    }

    pub(super) fn documents(&self) -> usize {
        match &self.part {
            Part::All => self.file.documents(),
            Part::Chosen(documents) => documents.len(),
            Part::Tokens(_, documents) => documents.len(),
        }
    }

    /// The tokens of a document of the split.
    pub(super) fn document(&self, index: usize) -> Range<u64> {
        match &self.part {
            Part::All => self.file.document(index),
            Part::Chosen(documents) => self.file.document(documents[index] as usize),
            Part::Tokens(tokens, documents) => {
                let document = self.file.document(documents.start + index);
                document.start.max(tokens.start)..document.end.min(tokens.end)
            }
        }
    }

    pub(super) fn tokens(&self) -> u64 {
        (0..self.documents()).map(|index| length(&self.document(index))).sum()
    }
}

fn length(range: &Range<u64>) -> u64 {
    range.end - range.start
}

/// The sequences of a split.
#[derive(Debug)]
pub(super) struct Sequences {
    pub(super) split: Split,
    pub(super) tokens: u64,
    pub(super) length: usize,
    /// How many there are, in every epoch.
    pub(super) count: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Stream {
        /// Whether tokens attend only within their document.
        respects_boundaries: bool,
        /// Beginning the next document, this token still counts: it ends the one before.
        eos: Option<u32>,
    },
    Packed {
        /// Indices of conversations, those of one sequence beside each other.
        conversations: Vec<u32>,
        /// Where in them each sequence ends.
        ends: Vec<u32>,
        padding: u32,
    },
}

/// What became of conversations.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Packing {
    pub(super) kept: usize,
    /// Kept, but longer than a sequence.
    pub(super) cut: usize,
    /// Left out because nothing in a sequence's length counts.
    pub(super) left_out: usize,
}

impl Sequences {
    /// A ring of documents for training, whose last token is followed by the first.
    pub(super) fn ring(split: Split, length: usize, respects_boundaries: bool, eos: Option<u32>) -> Self {
        let tokens = split.tokens();
        let count = tokens / length as u64;
        Self { split, tokens, length, count, kind: Kind::Stream { respects_boundaries, eos } }
    }

    /// A line of documents for validation, whose last token has no target.
    pub(super) fn line(split: Split, length: usize, respects_boundaries: bool, eos: Option<u32>) -> Self {
        let ring = Self::ring(split, length, respects_boundaries, eos);
        Self { count: ring.tokens.saturating_sub(1) / length as u64, ..ring }
    }

    /// Whole conversations, the longest first, each where it leaves the least room.
    ///
    /// A conversation of n tokens takes n - 1 places, since nothing follows its last token.
    pub(super) fn packed(split: Split, length: usize, padding: u32) -> (Self, Packing) {
        let mut packing = Packing::default();
        let mut items: Vec<(usize, u32)> = Vec::new();
        for index in 0..split.documents() {
            let document = split.document(index);
            let places = (self::length(&document) as usize).saturating_sub(1);
            let kept = places.min(length);
            let learns = (1..=kept).any(|i| split.file.token(document.start + i as u64).1);
            if !learns {
                packing.left_out += 1;
                continue;
            }
            packing.kept += 1;
            packing.cut += usize::from(kept < places);
            items.push((kept, index as u32));
        }
        items.sort_unstable_by_key(|(places, index)| (std::cmp::Reverse(*places), *index));
        let mut sequences: Vec<Vec<u32>> = Vec::new();
        let mut with_room: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (places, index) in items {
            let found = with_room.range(places..).next().map(|(room, _)| *room);
            let (room, sequence) = match found {
                Some(room) => {
                    let list = with_room.entry(room).or_default();
                    let sequence = list.pop().expect("packed: lists of sequences with room are not empty");
                    if list.is_empty() {
                        with_room.remove(&room);
                    }
                    (room, sequence)
                }
                None => {
                    sequences.push(Vec::new());
                    (length, sequences.len() - 1)
                }
            };
            sequences[sequence].push(index);
            if room > places {
                with_room.entry(room - places).or_default().push(sequence);
            }
        }
        let mut conversations = Vec::new();
        let mut ends = Vec::new();
        for sequence in sequences {
            conversations.extend(sequence);
            ends.push(conversations.len() as u32);
        }
        let (tokens, count) = (split.tokens(), ends.len() as u64);
        let kind = Kind::Packed { conversations, ends, padding };
        (Self { split, tokens, length, count, kind }, packing)
    }

    /// Appends a sequence of an epoch to a batch.
    pub(super) fn push(&self, order: &Order, sequence: u64, batch: &mut Batch) {
        let place = order.sequences.as_ref().map_or(sequence, |permutation| permutation.at(sequence));
        match &self.kind {
            Kind::Stream { respects_boundaries, eos } => {
                self.push_stream(order, place, *respects_boundaries, *eos, batch);
            }
            Kind::Packed { conversations, ends, padding } => {
                let place = place as usize;
                let first = if place == 0 { 0 } else { ends[place - 1] as usize };
                self.push_packed(&conversations[first..ends[place] as usize], *padding, batch);
            }
        }
    }

    fn push_stream(&self, order: &Order, place: u64, respects: bool, eos: Option<u32>, batch: &mut Batch) {
        let file = &self.split.file;
        let document_at = |index: usize| self.split.document(order.documents[index] as usize);
        let mut position = (order.offset + place * self.length as u64) % self.tokens;
        let mut index = order.ends.partition_point(|end| *end <= position);
        let mut left = self.length;
        while left > 0 {
            let document = document_at(index);
            let next = (index + 1) % order.documents.len();
            let start = document.end - (order.ends[index] - position);
            let end = document.end.min(start + left as u64);
            for token in start..end {
                batch.tokens.push(file.token(token).0);
                let (target, counts) = if token + 1 < document.end {
                    file.token(token + 1)
                } else {
                    let (target, counts) = file.token(document_at(next).start);
                    (target, counts && (!respects || eos == Some(target)))
                };
                batch.targets.push(target);
                batch.counts.push(counts);
            }
            let taken = (end - start) as usize;
            if respects {
                batch.segments.push(taken);
            }
            left -= taken;
            position = (position + taken as u64) % self.tokens;
            index = next;
        }
        if !respects {
            batch.segments.push(self.length);
        }
    }

    fn push_packed(&self, conversations: &[u32], padding: u32, batch: &mut Batch) {
        let mut left = self.length;
        for index in conversations {
            let document = self.split.document(*index as usize);
            let places = (length(&document) as usize - 1).min(self.length);
            for token in document.start..document.start + places as u64 {
                let (target, counts) = self.split.file.token(token + 1);
                batch.tokens.push(self.split.file.token(token).0);
                batch.targets.push(target);
                batch.counts.push(counts);
            }
            batch.segments.push(places);
            left -= places;
        }
        if left > 0 {
            let rows = batch.tokens.len() + left;
            batch.tokens.resize(rows, padding);
            batch.targets.resize(rows, padding);
            batch.counts.resize(rows, false);
            batch.segments.push(left);
        }
    }
}

/// The order of an epoch.
#[derive(Debug)]
pub(super) struct Order {
    /// Documents of the split, as they follow each other in the stream.
    documents: Vec<u32>,
    /// Where in the stream each ends.
    ends: Vec<u64>,
    /// Where in the stream the first sequence begins.
    offset: u64,
    /// The order of sequences, if they are shuffled.
    sequences: Option<Permutation>,
}

impl Order {
    /// Documents and sequences as they lie in the file.
    pub(super) fn fixed(sequences: &Sequences) -> Self {
        Self::of_documents(sequences, |index| index)
    }

    /// The order of a training epoch.
    pub(super) fn shuffled(sequences: &Sequences, seed: u64, epoch: u64) -> Self {
        /// Keeps clear of the streams that initial weights are drawn from.
        const STREAM: u64 = 1 << 63;
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(STREAM | epoch);
        let documents = Permutation::new(sequences.split.documents() as u64, &mut generator);
        let offset = generator.next_u64() % sequences.length as u64;
        let order = Permutation::new(sequences.count, &mut generator);
        let mut shuffled = Self::of_documents(sequences, |index| documents.at(index));
        shuffled.offset = offset;
        shuffled.sequences = Some(order);
        shuffled
    }

    fn of_documents(sequences: &Sequences, at: impl Fn(u64) -> u64) -> Self {
        let mut order = Self { documents: Vec::new(), ends: Vec::new(), offset: 0, sequences: None };
        // Packed sequences do not depend on the order of documents.
        if let Kind::Stream { .. } = sequences.kind {
            let mut end = 0;
            for index in 0..sequences.split.documents() as u64 {
                let document = at(index);
                end += length(&sequences.split.document(document as usize));
                order.documents.push(document as u32);
                order.ends.push(end);
            }
        }
        order
    }
}

/// A permutation of `0..len` that takes no memory: a Feistel network over the next power of four,
/// applied again until the result is less than `len`.
#[derive(Debug)]
struct Permutation {
    len: u64,
    half_bits: u32,
    keys: [u64; Self::ROUNDS],
}

impl Permutation {
    const ROUNDS: usize = 6;

    fn new(len: u64, generator: &mut ChaCha8Rng) -> Self {
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        Self { len, half_bits: bits.div_ceil(2).max(1), keys: std::array::from_fn(|_| generator.next_u64()) }
    }

    fn at(&self, index: u64) -> u64 {
        assert!(index < self.len, "Permutation::at: the index is one of those permuted");
        let mask = (1u64 << self.half_bits) - 1;
        let mut value = index;
        loop {
            let (mut left, mut right) = (value >> self.half_bits, value & mask);
            for key in self.keys {
                (left, right) = (right, left ^ (finalize(right ^ key) & mask));
            }
            value = left << self.half_bits | right;
            if value < self.len {
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_has_every_number_once_and_differs_by_key() {
        let mut generator = ChaCha8Rng::seed_from_u64(1);
        for len in [1u64, 2, 3, 4, 5, 16, 17, 1000, 4097] {
            let first = Permutation::new(len, &mut generator);
            let second = Permutation::new(len, &mut generator);
            let list = |permutation: &Permutation| (0..len).map(|i| permutation.at(i)).collect::<Vec<_>>();
            let (first, second) = (list(&first), list(&second));
            let mut sorted = first.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..len).collect::<Vec<_>>());
            assert!(len < 16 || first != second);
        }
    }

    #[test]
    fn a_permutation_moves_numbers_evenly() {
        const LEN: u64 = 10_000;
        let permutation = Permutation::new(LEN, &mut ChaCha8Rng::seed_from_u64(2));
        // The first half goes to both halves alike; 5 standard deviations are 250.
        let low = (0..LEN / 2).filter(|i| permutation.at(*i) < LEN / 2).count() as i64;
        assert!((low - LEN as i64 / 4).abs() < 250, "{low}");
        let kept_order = (1..LEN).filter(|i| permutation.at(i - 1) < permutation.at(*i)).count() as i64;
        assert!((kept_order - LEN as i64 / 2).abs() < 250, "{kept_order}");
    }
}
