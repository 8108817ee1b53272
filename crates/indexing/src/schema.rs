//! The schema of a partition, and the tokenizer that cuts words as queries do.

use event::ecs::{FIELDS, Type};
use tantivy::schema::{
    Field, IndexRecordOption, JsonObjectOptions, NumericOptions, Schema, TextFieldIndexing,
    TextOptions,
};
use tantivy::tokenizer::{TextAnalyzer, Token, TokenStream, Tokenizer};

/// The name by which the schema asks for our tokenizer.
const WORDS: &str = "words";

/// Before the name of a field of text, in the name of its own words.
const TEXT_PREFIX: &str = "text.";

/// The fields of a partition.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    pub(crate) time: Field,
    pub(crate) id: Field,
    pub(crate) source: Field,
    pub(crate) words: Field,
    pub(crate) data: Field,
    pub(crate) kept: Field,
    /// How many bytes the JSON has; `None` if the partition is older than that column.
    pub(crate) bytes: Option<Field>,
    /// The fields of text that have their own words, by name.
    pub(crate) texts: Vec<(String, Field)>,
}

impl Fields {
    /// The words of this field of text; `None` if the partition has none for it (it may be older
    /// than the catalogue's entry).
    pub(crate) fn text(&self, path: &str) -> Option<Field> {
        self.texts.iter().find(|(name, _)| name == path).map(|(_, field)| *field)
    }
}

/// The schema of a new partition.
pub(crate) fn schema() -> Schema {
    let mut builder = Schema::builder();
    builder.add_i64_field("time", NumericOptions::default().set_fast());
    let term = TextFieldIndexing::default()
        .set_tokenizer("raw")
        .set_index_option(IndexRecordOption::Basic)
        .set_fieldnorms(false);
    builder.add_text_field("id", TextOptions::default().set_indexing_options(term));
    builder.add_bytes_field("source", tantivy::schema::STORED);
    let words = TextFieldIndexing::default()
        .set_tokenizer(WORDS)
        .set_index_option(IndexRecordOption::WithFreqsAndPositions)
        .set_fieldnorms(false);
    let words = TextOptions::default().set_indexing_options(words);
    builder.add_text_field("words", words.clone());
    builder.add_json_field("data", JsonObjectOptions::default().set_fast("raw"));
    builder.add_json_field("kept", JsonObjectOptions::default().set_fast("raw"));
    builder.add_u64_field("bytes", NumericOptions::default().set_fast());
    for (path, _) in FIELDS.iter().filter(|(_, kind)| *kind == Type::Text) {
        builder.add_text_field(&format!("{TEXT_PREFIX}{path}"), words.clone());
    }
    builder.build()
}

/// Finds the fields of a schema that was read.
pub(crate) fn fields(schema: &Schema) -> Result<Fields, tantivy::TantivyError> {
    let texts = schema
        .fields()
        .filter_map(|(field, entry)| {
            entry.name().strip_prefix(TEXT_PREFIX).map(|path| (path.to_owned(), field))
        })
        .collect();
    Ok(Fields {
        time: schema.get_field("time")?,
        id: schema.get_field("id")?,
        source: schema.get_field("source")?,
        words: schema.get_field("words")?,
        data: schema.get_field("data")?,
        kept: schema.get_field("kept")?,
        bytes: schema.get_field("bytes").ok(),
        texts,
    })
}

/// Makes our tokenizer known to an index.
pub(crate) fn register(index: &tantivy::Index) {
    index.tokenizers().register(WORDS, TextAnalyzer::from(WordTokenizer::default()));
}

/// Cuts words with [`query::for_each_word`].
#[derive(Debug, Clone, Default)]
struct WordTokenizer {
    text: String,
    /// Where each word ends in `text`, and where it was cut from.
    words: Vec<(usize, usize, usize)>,
    buffer: String,
    token: Token,
}

struct Words<'a> {
    of: &'a mut WordTokenizer,
    next: usize,
    start: usize,
}

impl Tokenizer for WordTokenizer {
    type TokenStream<'a> = Words<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Words<'a> {
        self.text.clear();
        self.words.clear();
        self.token.reset();
        let (words, cut) = (&mut self.words, &mut self.text);
        query::for_each_word(text, &mut self.buffer, |word, from, to| {
            cut.push_str(word);
            words.push((cut.len(), from, to));
        });
        Words { of: self, next: 0, start: 0 }
    }
}

impl TokenStream for Words<'_> {
    fn advance(&mut self) -> bool {
        let Some(&(end, from, to)) = self.of.words.get(self.next) else { return false };
        let token = &mut self.of.token;
        token.text.clear();
        token.text.push_str(self.of.text.get(self.start..end).unwrap_or_default());
        token.position = self.next;
        token.offset_from = from;
        token.offset_to = to;
        self.start = end;
        self.next += 1;
        true
    }

    fn token(&self) -> &Token {
        &self.of.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.of.token
    }
}
