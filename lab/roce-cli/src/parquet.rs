//! A table in a Parquet file: columns of numbers, times, texts and truths, in row groups of a bounded size.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::Error;

/// Rows that are in memory at most.
const ROWS_MAX: usize = 65_536;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnKind {
    /// An unsigned number of 64 bits.
    Number,
    /// Nanoseconds since the epoch, in UTC.
    Time,
    Text,
    Truth,
}

/// One cell.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    None,
    Number(u64),
    Text(String),
    Truth(bool),
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u8> for Cell {
    fn from(number: u8) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Cell {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

/// The cells of one column, and for each row whether it has one.
#[derive(Debug, Default)]
struct Column {
    has_value: Vec<i16>,
    numbers: Vec<i64>,
    texts: Vec<ByteArray>,
    truths: Vec<bool>,
}

/// A Parquet file that is written row by row.
pub(super) struct ParquetTable {
    name: String,
    columns: Vec<Column>,
    kinds: Vec<ColumnKind>,
    rows: usize,
    writer: SerializedFileWriter<File>,
}

/// The schema of a table: every column may be empty in a row.
fn schema(name: &str, columns: &[(&str, ColumnKind)]) -> String {
    let fields: String = columns
        .iter()
        .map(|(name, kind)| match kind {
            ColumnKind::Number => format!("optional int64 {name} (INTEGER(64,false));\n"),
            ColumnKind::Time => format!("optional int64 {name} (TIMESTAMP(NANOS,true));\n"),
            ColumnKind::Text => format!("optional binary {name} (STRING);\n"),
            ColumnKind::Truth => format!("optional boolean {name};\n"),
        })
        .collect();
    format!("message {name} {{\n{fields}}}\n")
}

impl ParquetTable {
    /// Creates the file.
    pub(super) fn create(
        path: &Path,
        name: &str,
        columns: &[(&str, ColumnKind)],
    ) -> std::result::Result<Self, Error> {
        let path_name = path.display().to_string();
        let failed =
            |error: &dyn std::fmt::Display| Error::new(format!("failed to write {path_name}: {error}"));
        let file = File::create(path).map_err(|error| failed(&error))?;
        let schema = parse_message_type(&schema(name, columns)).map_err(|error| failed(&error))?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))
            .map_err(|error| failed(&error))?;
        Ok(Self {
            columns: columns.iter().map(|_| Column::default()).collect(),
            kinds: columns.iter().map(|(_, kind)| *kind).collect(),
            rows: 0,
            writer,
            name: path_name,
        })
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> Error {
        Error::new(format!("failed to write {}: {error}", self.name))
    }

    /// Adds a row, which has a cell for each column.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) -> std::result::Result<(), Error> {
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            column.has_value.push(i16::from(!matches!(cell, Cell::None)));
            match cell {
                Cell::None => {}
                // Parquet has unsigned numbers in the bits of signed ones.
                Cell::Number(number) => column.numbers.push(number as i64),
                Cell::Text(text) => column.texts.push(ByteArray::from(text.into_bytes())),
                Cell::Truth(truth) => column.truths.push(truth),
            }
        }
        self.rows += 1;
        if self.rows < ROWS_MAX {
            return Ok(());
        }
        self.write_group().map_err(|error| self.failed(&error))
    }

    fn write_group(&mut self) -> Result<()> {
        let mut group = self.writer.next_row_group()?;
        for (column, kind) in self.columns.iter_mut().zip(&self.kinds) {
            let Some(mut writer) = group.next_column()? else { break };
            let has_value = Some(column.has_value.as_slice());
            match kind {
                ColumnKind::Number | ColumnKind::Time => {
                    writer.typed::<Int64Type>().write_batch(&column.numbers, has_value, None)?
                }
                ColumnKind::Text => {
                    writer.typed::<ByteArrayType>().write_batch(&column.texts, has_value, None)?
                }
                ColumnKind::Truth => {
                    writer.typed::<BoolType>().write_batch(&column.truths, has_value, None)?
                }
            };
            writer.close()?;
            column.has_value.clear();
            column.numbers.clear();
            column.texts.clear();
            column.truths.clear();
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }

    /// Writes the rest, and the file's end.
    pub(super) fn finish(mut self) -> std::result::Result<(), Error> {
        if self.rows > 0 {
            self.write_group().map_err(|error| self.failed(&error))?;
        }
        self.writer.finish().map(|_| ()).map_err(|error| self.failed(&error))
    }
}
