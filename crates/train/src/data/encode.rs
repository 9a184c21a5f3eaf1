//! Documents to tokens, on all threads, in order and in bounded memory.
//!
//! A document of text is what the tokenizer makes of it with its own special tokens, and then the
//! token that ends documents, unless the next document begins with that one. A conversation is
//! what the template writes, with the token that begins a text before it if the template has none.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tercet::json::shown;
use tercet::tokenizer::TokenizerError;

use super::cache::{NOT_COUNTED, TokenWriter};
use super::chat::{Chat, ChatError};
use super::error::DataError;
use super::files::InputFile;
use super::read::{Content, Piece, Reader, Wanted, without_long_words};
use super::tokenizer::TextTokenizer;
use super::work::{Stage, Work};

/// Bytes of text that a thread gets before tokens are written.
const CHUNK_BYTES: usize = 4 << 20;

/// Bytes of text that a thread claims at once.
const GROUP_BYTES: usize = 1 << 16;

/// What makes tokens of documents.
pub(super) struct Encoder<'a> {
    tokenizer: &'a TextTokenizer,
    chat: Option<Chat>,
    /// Tokens before the text of a document, and after it.
    before: Vec<u32>,
    after: Vec<u32>,
}

/// The tokens of a piece.
struct Encoded {
    tokens: Vec<u32>,
    text_bytes: usize,
    starts: bool,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(tokenizer: &'a TextTokenizer, chat: Option<Chat>) -> Result<Self, DataError> {
        // What the tokenizer puts around a text is seen on a short one.
        let bare = tokenizer.tokenizer.encode("a", false)?;
        let framed = tokenizer.tokenizer.encode("a", true)?;
        let at = framed.windows(bare.len().max(1)).position(|window| window == bare).unwrap_or(0);
        let mut before = framed[..at].to_vec();
        let mut after = framed.get(at + bare.len()..).unwrap_or_default().to_vec();
        match (tokenizer.bos, tokenizer.eos.first()) {
            // With one token for both, the next document's beginning ends this one.
            (_, Some(eos)) if !before.contains(eos) && !after.contains(eos) => after.push(*eos),
            (Some(bos), None) if !before.contains(&bos) => before.insert(0, bos),
            _ => {}
        }
        Ok(Self { tokenizer, chat, before, after })
    }

    fn encode(&self, files: &[InputFile], piece: &Piece) -> Result<Encoded, DataError> {
        let path = || files[piece.file].path.clone();
        let place = || piece.place.to_string();
        let failed = |source: TokenizerError| DataError::Encode {
            path: path(),
            place: place(),
            source: Box::new(source),
        };
        let starts = piece.starts;
        match (&piece.content, &self.chat) {
            (Content::Text(text), _) => {
                let mut tokens = if starts { self.before.clone() } else { Vec::new() };
                for part in without_long_words(text) {
                    tokens.extend(self.tokenizer.tokenizer.encode(part, false).map_err(failed)?);
                }
                if piece.ends {
                    tokens.extend_from_slice(&self.after);
                }
                Ok(Encoded { tokens, text_bytes: text.len(), starts })
            }
            (Content::Messages(messages), Some(chat)) => {
                let parts = chat.parts(messages).map_err(|error| match error {
                    ChatError::Field(field, found, expected) => {
                        let field = format!("{}{field}", chat.field());
                        DataError::Field {
                            path: path(),
                            place: place(),
                            field: shown(&field),
                            found,
                            expected,
                        }
                    }
                    ChatError::Render(line, detail) => {
                        DataError::Render { path: path(), place: place(), line, detail }
                    }
                    ChatError::NotAPrefix(message, parting) => {
                        let parting = Box::new(parting);
                        DataError::NotAPrefix { path: path(), place: place(), message, parting }
                    }
                    ChatError::GenerationPrompt(message, parting) => {
                        let parting = Box::new(parting);
                        DataError::GenerationPrompt { path: path(), place: place(), message, parting }
                    }
                })?;
                let mut tokens = Vec::new();
                let mut text_bytes = 0;
                for part in &parts {
                    text_bytes += part.text.len();
                    let ids = self.tokenizer.tokenizer.encode(&part.text, false).map_err(failed)?;
                    let mark = if part.counts { 0 } else { NOT_COUNTED };
                    tokens.extend(ids.into_iter().map(|id| id | mark));
                }
                if let Some(bos) = self.tokenizer.bos
                    && tokens.first().is_none_or(|first| first & !NOT_COUNTED != bos)
                {
                    tokens.insert(0, bos | NOT_COUNTED);
                }
                Ok(Encoded { tokens, text_bytes, starts })
            }
            (Content::Messages(_), None) => unreachable!("encode: messages are read for chats alone"),
        }
    }
}

/// Writes the tokens of all documents.
pub(super) fn encode_files(
    files: &[InputFile],
    wanted: &Wanted,
    encoder: &Encoder,
    stage: Stage,
    work: &mut Work,
    writer: &mut TokenWriter,
) -> Result<(), DataError> {
    let total: u64 = files.iter().map(|file| file.bytes).sum();
    let mut reader = Reader::new(files, wanted);
    loop {
        work.check_stop()?;
        let groups = read_chunk(&mut reader, work.threads.max(1) * CHUNK_BYTES)?;
        if groups.is_empty() {
            return Ok(());
        }
        for encoded in encode_chunk(files, encoder, &groups, work.threads)? {
            if encoded.starts && !encoded.tokens.is_empty() {
                writer.begin_document();
            }
            writer.push(&encoded.tokens, encoded.text_bytes)?;
        }
        work.bytes(stage, reader.bytes_done(), total);
    }
}

/// The next pieces, about so many bytes of them, in groups for threads to claim.
fn read_chunk(reader: &mut Reader, chunk_bytes: usize) -> Result<Vec<Vec<Piece>>, DataError> {
    let mut groups = Vec::new();
    let mut group = Vec::new();
    let (mut bytes, mut group_bytes) = (0, 0);
    while bytes < chunk_bytes {
        let Some(piece) = reader.next()? else { break };
        group_bytes += piece_bytes(&piece);
        group.push(piece);
        if group_bytes >= GROUP_BYTES {
            bytes += std::mem::take(&mut group_bytes);
            groups.push(std::mem::take(&mut group));
        }
    }
    if !group.is_empty() {
        groups.push(group);
    }
    Ok(groups)
}

/// About how much memory a piece takes.
fn piece_bytes(piece: &Piece) -> usize {
    const MESSAGE_BYTES: usize = 256;
    let content = match &piece.content {
        Content::Text(text) => text.len(),
        Content::Messages(messages) => messages
            .iter()
            .map(|message| message["content"].as_str().map_or(0, str::len) + MESSAGE_BYTES)
            .sum(),
    };
    content + size_of::<Piece>()
}

/// Encodes all groups and returns what came of them in their order, or the first error.
fn encode_chunk(
    files: &[InputFile],
    encoder: &Encoder,
    groups: &[Vec<Piece>],
    threads: usize,
) -> Result<Vec<Encoded>, DataError> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(groups.len()));
    let encode_groups = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(group) = groups.get(index) else { return };
            let encoded: Result<Vec<Encoded>, DataError> =
                group.iter().map(|piece| encoder.encode(files, piece)).collect();
            done.lock()
                .expect("encode_chunk: no thread panics while it holds the lock")
                .push((index, encoded));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.clamp(1, groups.len()) {
            scope.spawn(encode_groups);
        }
        encode_groups();
    });
    let mut done = done.into_inner().expect("encode_chunk: no thread panics while it holds the lock");
    done.sort_unstable_by_key(|(index, _)| *index);
    let mut all = Vec::new();
    for (_, encoded) in done {
        all.extend(encoded?);
    }
    Ok(all)
}
