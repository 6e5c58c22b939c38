//! A table as Parquet: typed columns, undefined numbers null, compressed with Snappy.

use std::io::Read;
use std::sync::Arc;

use csv::{Reader, StringRecord};
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};

use super::ExportError;
use super::columns::{Kind, Table};

/// Lines of a row group: what is in memory at a time.
const GROUP: usize = 65_536;

/// The file of `table`, whose lines are read from `csv`, with notes about where it is from.
///
/// # Errors
/// When a line cannot be read, a column is not one of the table, or a field not of its column's kind.
pub(super) fn parquet(
    table: Table,
    csv: impl Read,
    notes: &[(&str, String)],
) -> Result<Vec<u8>, ExportError> {
    let mut reader = Reader::from_reader(csv);
    let header = reader.headers().map_err(|source| failed(table, source))?;
    let mut columns = header
        .iter()
        .map(|name| {
            let kind = table.kind(name).ok_or_else(|| ExportError::Column {
                table: table.name,
                column: name.to_owned(),
            })?;
            Ok(Column::new(name, kind))
        })
        .collect::<Result<Vec<Column>, ExportError>>()?;
    let notes = notes.iter().map(|(key, value)| KeyValue {
        key: (*key).to_owned(),
        value: Some(value.clone()),
    });
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(format!("anofpdm version {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(notes.collect()));
    let mut file = SerializedFileWriter::new(
        Vec::new(),
        schema(table, &columns)?,
        Arc::new(properties.build()),
    )?;
    let mut record = StringRecord::new();
    let mut waiting = 0;
    while reader
        .read_record(&mut record)
        .map_err(|source| failed(table, source))?
    {
        // A line has as many fields as the first one, or it cannot be read.
        for (column, field) in columns.iter_mut().zip(&record) {
            column.push(field).ok_or_else(|| ExportError::Field {
                table: table.name,
                line: record.position().map_or(0, csv::Position::line),
                column: column.name.clone(),
                field: field.to_owned(),
            })?;
        }
        waiting += 1;
        if waiting == GROUP {
            write_group(&mut file, &mut columns)?;
            waiting = 0;
        }
    }
    if waiting > 0 {
        write_group(&mut file, &mut columns)?;
    }
    Ok(file.into_inner()?)
}

fn failed(table: Table, source: csv::Error) -> ExportError {
    ExportError::Csv {
        table: table.name,
        source,
    }
}

fn schema(table: Table, columns: &[Column]) -> Result<TypePtr, ParquetError> {
    let fields = columns.iter().map(|column| {
        let (physical, logical, repetition) = match column.values {
            Values::Text(_) => (
                Physical::BYTE_ARRAY,
                Some(LogicalType::String),
                Repetition::REQUIRED,
            ),
            Values::Boolean(_) => (Physical::BOOLEAN, None, Repetition::REQUIRED),
            Values::Integer(..) => (Physical::INT64, None, Repetition::OPTIONAL),
            Values::Double(..) => (Physical::DOUBLE, None, Repetition::OPTIONAL),
        };
        let field = Type::primitive_type_builder(&column.name, physical)
            .with_logical_type(logical)
            .with_repetition(repetition);
        field.build().map(Arc::new)
    });
    let fields = fields.collect::<Result<Vec<TypePtr>, ParquetError>>()?;
    let whole = Type::group_type_builder(table.name).with_fields(fields);
    whole.build().map(Arc::new)
}

fn write_group(
    file: &mut SerializedFileWriter<Vec<u8>>,
    columns: &mut [Column],
) -> Result<(), ParquetError> {
    let mut group = file.next_row_group()?;
    for column in columns {
        if let Some(mut writer) = group.next_column()? {
            column.values.write(&mut writer)?;
            writer.close()?;
        }
    }
    group.close()?;
    Ok(())
}

struct Column {
    name: String,
    values: Values,
}

/// Values of a row group. Of numbers those that are defined, and for each line whether it has one (1) or not (0).
enum Values {
    Text(Vec<ByteArray>),
    Boolean(Vec<bool>),
    Integer(Vec<i64>, Vec<i16>),
    Double(Vec<f64>, Vec<i16>),
}

impl Column {
    fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            values: match kind {
                Kind::Text => Values::Text(Vec::new()),
                Kind::Boolean => Values::Boolean(Vec::new()),
                Kind::Integer => Values::Integer(Vec::new(), Vec::new()),
                Kind::Double => Values::Double(Vec::new(), Vec::new()),
            },
        }
    }

    /// Adds a field; `None` where it is not of the column's kind.
    fn push(&mut self, field: &str) -> Option<()> {
        match &mut self.values {
            Values::Text(values) => values.push(ByteArray::from(field)),
            Values::Boolean(values) => values.push(field.parse().ok()?),
            Values::Integer(values, defined) => number(field, values, defined)?,
            Values::Double(values, defined) => number(field, values, defined)?,
        }
        Some(())
    }
}

fn number<T: std::str::FromStr>(
    field: &str,
    values: &mut Vec<T>,
    defined: &mut Vec<i16>,
) -> Option<()> {
    if !field.is_empty() {
        values.push(field.parse().ok()?);
    }
    defined.push(i16::from(!field.is_empty()));
    Some(())
}

impl Values {
    /// Writes and forgets them.
    fn write(&mut self, writer: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        match self {
            Self::Text(values) => {
                let writer = writer.typed::<ByteArrayType>();
                writer.write_batch(values, None, None)?;
                values.clear();
            }
            Self::Boolean(values) => {
                let writer = writer.typed::<BoolType>();
                writer.write_batch(values, None, None)?;
                values.clear();
            }
            Self::Integer(values, defined) => {
                let writer = writer.typed::<Int64Type>();
                writer.write_batch(values, Some(defined), None)?;
                values.clear();
                defined.clear();
            }
            Self::Double(values, defined) => {
                let writer = writer.typed::<DoubleType>();
                writer.write_batch(values, Some(defined), None)?;
                values.clear();
                defined.clear();
            }
        }
        Ok(())
    }
}
