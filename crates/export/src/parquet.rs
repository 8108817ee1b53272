//! Rows as a Parquet file: a row group per page, every column optional.
//!
//! A number, time or truth value that is one of several is the first of them; texts are a list in JSON
//! then. Names keep their dots, as one name.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;
use query::Cell;

use crate::ExportError;
use crate::columns::{Column, ColumnKind, Columns};
use crate::rows::text;

/// A Parquet file that is being written.
pub(crate) struct ParquetFile<W: Write + Send>(SerializedFileWriter<W>);

impl<W: Write + Send> ParquetFile<W> {
    pub(crate) fn new(columns: &Columns, out: W) -> Result<Self, ExportError> {
        let fields = columns.0.iter().map(field).collect::<Result<Vec<_>, _>>()?;
        let schema = Type::group_type_builder("events").with_fields(fields).build()?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(concat!("watchpost ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        Ok(ParquetFile(SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?))
    }

    pub(crate) fn row_group(
        &mut self,
        columns: &Columns,
        rows: &[Vec<Cell>],
    ) -> Result<(), ExportError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut group = self.0.next_row_group()?;
        for (n, column) in columns.0.iter().enumerate() {
            let Some(mut writer) = group.next_column()? else { break };
            let cells = rows.iter().map(|row| row.get(n).unwrap_or(&Cell::Null));
            match column.kind {
                ColumnKind::Text => write::<ByteArrayType>(&mut writer, cells, |cell| {
                    text(cell).map(|text| ByteArray::from(text.into_bytes()))
                })?,
                ColumnKind::Whole => write::<Int64Type>(&mut writer, cells, |cell| match cell {
                    Cell::Int(number) => Some(*number),
                    _ => None,
                })?,
                ColumnKind::Float => write::<DoubleType>(&mut writer, cells, |cell| match cell {
                    Cell::Int(number) => Some(*number as f64),
                    Cell::Float(number) => Some(*number),
                    _ => None,
                })?,
                ColumnKind::Bool => write::<BoolType>(&mut writer, cells, |cell| match cell {
                    Cell::Bool(value) => Some(*value),
                    _ => None,
                })?,
                ColumnKind::Time => write::<Int64Type>(&mut writer, cells, |cell| match cell {
                    Cell::Time(time) => Some(time.as_nanos()),
                    _ => None,
                })?,
            }
            writer.close()?;
        }
        group.close()?;
        Ok(())
    }

    /// Writes the footer, without which the file is none.
    pub(crate) fn close(self) -> Result<(), ExportError> {
        self.0.close()?;
        Ok(())
    }
}

fn field(column: &Column) -> Result<Arc<Type>, ExportError> {
    let (physical, logical) = match column.kind {
        ColumnKind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        ColumnKind::Whole => (Physical::INT64, None),
        ColumnKind::Float => (Physical::DOUBLE, None),
        ColumnKind::Bool => (Physical::BOOLEAN, None),
        ColumnKind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::NANOS))),
    };
    let built = Type::primitive_type_builder(&column.name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical)
        .build()?;
    Ok(Arc::new(built))
}

fn write<'c, T: DataType>(
    writer: &mut SerializedColumnWriter<'_>,
    cells: impl Iterator<Item = &'c Cell>,
    value: impl Fn(&Cell) -> Option<T::T>,
) -> Result<(), ExportError> {
    let (mut values, mut there) = (Vec::new(), Vec::new());
    for cell in cells {
        let found = match cell {
            Cell::List(cells) => value(cell).or_else(|| cells.iter().find_map(&value)),
            one => value(one),
        };
        // The type was that of all values when the export began.
        if found.is_none() && *cell != Cell::Null {
            let reason = format!(
                "the value {cell} of a field does not fit its type; CSV and NDJSON have it"
            );
            return Err(ExportError::Partial(reason));
        }
        there.push(i16::from(found.is_some()));
        values.extend(found);
    }
    writer.typed::<T>().write_batch(&values, Some(&there), None)?;
    Ok(())
}
