//! Token texts: from text to token ids and back.

use std::collections::HashMap;

use crate::error::{Error, Result};

/// What one token of a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// One Unicode character.
    Char,
    /// One word between white space.
    Word,
}

impl Unit {
    /// Returns the name used in metadata.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Char => "char",
            Self::Word => "word",
        }
    }

    /// Finds a unit by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Char, Self::Word].into_iter().find(|unit| unit.name() == name)
    }
}

/// The texts of all tokens; a token's id is its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    unit: Unit,
    tokens: Vec<String>,
    ids: HashMap<String, u32>,
}

impl Vocabulary {
    /// Makes a vocabulary from its token texts.
    ///
    /// # Errors
    /// `Format` when a text stands twice or the list is longer than u32 can count.
    pub fn new(unit: Unit, tokens: Vec<String>) -> Result<Self> {
        let mut ids = HashMap::with_capacity(tokens.len());
        for (index, token) in tokens.iter().enumerate() {
            let id = u32::try_from(index)
                .map_err(|_| Error::format("vocabulary: expected at most 2^32 tokens"))?;
            if ids.insert(token.clone(), id).is_some() {
                return Err(Error::format(format!(
                    "vocabulary: expected each token once, got {token:?} twice"
                )));
            }
        }
        Ok(Self { unit, tokens, ids })
    }

    /// Returns what one token is.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// Returns the token texts in id order.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Returns the text of a token.
    pub fn text(&self, id: u32) -> Option<&str> {
        self.tokens.get(usize::try_from(id).ok()?).map(String::as_str)
    }

    /// Turns a text into token ids.
    ///
    /// # Errors
    /// `Shape` when a character or word is not in the vocabulary; names it and its position.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut buffer = [0u8; 4];
        match self.unit {
            Unit::Char => text
                .chars()
                .enumerate()
                .map(|(i, c)| self.id(c.encode_utf8(&mut buffer), i))
                .collect(),
            Unit::Word => {
                text.split_whitespace().enumerate().map(|(i, word)| self.id(word, i)).collect()
            }
        }
    }

    fn id(&self, token: &str, position: usize) -> Result<u32> {
        self.ids.get(token).copied().ok_or_else(|| {
            Error::shape(format!(
                "text: expected {}s of the vocabulary ({} tokens), got {token:?} at position {}",
                self.unit.name(),
                self.tokens.len(),
                position + 1
            ))
        })
    }
}
