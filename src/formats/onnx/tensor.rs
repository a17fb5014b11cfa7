//! `TensorProto`: the arrays of an ONNX file, and of the `.pb` files of its test suites.
//!
//! Takes a message and, for data kept outside of the file, the folder beside it; gives an [`Array`].
//! Nothing is allocated before the number of values that the shape asks for was compared with the
//! bytes that are there.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use prost::Message;

use super::proto::TensorProto;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// An array at the graph's border; other element types are converted to one of these.
#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    /// Real numbers (float, double, float16, bfloat16).
    F32(Tensor<f32>),
    /// Whole numbers and truth values.
    I64(Tensor<i64>),
}

impl Array {
    /// Returns the length of every axis, outermost first.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32(tensor) => tensor.shape(),
            Self::I64(tensor) => tensor.shape(),
        }
    }
}

/// The element types of ONNX that are read, by `TensorProto.DataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F32,
    U8,
    I8,
    U16,
    I16,
    I32,
    I64,
    Bool,
    F16,
    F64,
    U32,
    U64,
    Bf16,
}

impl Element {
    /// Finds the type of a code.
    pub(super) fn from_code(code: i32) -> Result<Self> {
        Ok(match code {
            1 => Self::F32,
            2 => Self::U8,
            3 => Self::I8,
            4 => Self::U16,
            5 => Self::I16,
            6 => Self::I32,
            7 => Self::I64,
            9 => Self::Bool,
            10 => Self::F16,
            11 => Self::F64,
            12 => Self::U32,
            13 => Self::U64,
            16 => Self::Bf16,
            _ => {
                return Err(Error::unsupported(format!(
                    "element type: expected float, double, float16, bfloat16, bool or an integer \
                     of 8 to 64 bits, got type {code}"
                )));
            }
        })
    }

    pub(super) const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::F64 | Self::Bf16)
    }

    const fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::Bf16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::I64 | Self::F64 | Self::U64 => 8,
        }
    }
}

/// Reads a file that holds one array (`.pb`): its name and values.
///
/// # Errors
/// `Format` when the bytes are damaged, `Unsupported` for an element type that is not read.
pub fn read_tensor(bytes: &[u8]) -> Result<(String, Array)> {
    let proto = TensorProto::decode(bytes).map_err(|e| {
        Error::format(format!("expected an ONNX tensor, got damaged bytes: {e}")).with_source(e)
    })?;
    let array = read(&proto, None)?;
    Ok((proto.name, array))
}

/// Reads the values of a message.
///
/// # Errors
/// `Format` when shape and data do not agree, `Unsupported` for an element type or a place of the
/// data that is not read, `Io` when data outside of the file cannot be read.
pub(super) fn read(proto: &TensorProto, folder: Option<&Path>) -> Result<Array> {
    read_values(proto, folder)
        .map_err(|e| if proto.name.is_empty() { e } else { e.in_context(&proto.name) })
}

fn read_values(proto: &TensorProto, folder: Option<&Path>) -> Result<Array> {
    let element = Element::from_code(proto.data_type)?;
    if proto.segment.is_some() {
        return Err(Error::unsupported("data: expected a whole tensor, got a segment of one"));
    }
    let shape = proto
        .dims
        .iter()
        .map(|dim| usize::try_from(*dim))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|_| Error::format(format!("shape: expected sizes, got {:?}", proto.dims)))?;
    let bytes = shape
        .iter()
        .try_fold(element.bytes(), |n, axis| n.checked_mul(*axis))
        .ok_or_else(|| Error::format(format!("shape: expected fewer values, got {shape:?}")))?;
    if proto.data_location == 1 {
        let raw = external(proto, folder, bytes)?;
        return from_raw(element, shape, &raw);
    }
    match &proto.raw_data {
        Some(raw) if raw.len() == bytes => from_raw(element, shape, raw),
        Some(raw) => Err(Error::format(format!(
            "data: expected {bytes} bytes for shape {shape:?}, got {}",
            raw.len()
        ))),
        None => from_typed(element, shape, proto),
    }
}

fn chunks<const N: usize, T>(raw: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks::<N>().0.iter().map(|chunk| value(*chunk)).collect()
}

fn unsigned(value: u64) -> Result<i64> {
    i64::try_from(value)
        .map_err(|_| Error::unsupported(format!("uint64: expected below 2^63, got {value}")))
}

#[expect(clippy::cast_possible_truncation, reason = "networks are f32; doubles are rounded")]
pub(super) fn narrow(value: f64) -> f32 {
    value as f32
}

fn from_raw(element: Element, shape: Vec<usize>, raw: &[u8]) -> Result<Array> {
    let floats = match element {
        Element::F32 => Some(chunks(raw, f32::from_le_bytes)),
        Element::F64 => Some(chunks(raw, |b| narrow(f64::from_le_bytes(b)))),
        Element::F16 => Some(chunks(raw, |b| half::f16::from_le_bytes(b).to_f32())),
        Element::Bf16 => Some(chunks(raw, |b| half::bf16::from_le_bytes(b).to_f32())),
        _ => None,
    };
    if let Some(values) = floats {
        return Ok(Array::F32(Tensor::new(shape, values)?));
    }
    let values = match element {
        Element::U8 => raw.iter().map(|b| i64::from(*b)).collect(),
        Element::Bool => raw.iter().map(|b| i64::from(*b != 0)).collect(),
        Element::I8 => chunks(raw, |b| i64::from(i8::from_le_bytes(b))),
        Element::U16 => chunks(raw, |b| i64::from(u16::from_le_bytes(b))),
        Element::I16 => chunks(raw, |b| i64::from(i16::from_le_bytes(b))),
        Element::I32 => chunks(raw, |b| i64::from(i32::from_le_bytes(b))),
        Element::U32 => chunks(raw, |b| i64::from(u32::from_le_bytes(b))),
        Element::U64 => {
            chunks(raw, u64::from_le_bytes).into_iter().map(unsigned).collect::<Result<Vec<_>>>()?
        }
        _ => chunks(raw, i64::from_le_bytes),
    };
    Ok(Array::I64(Tensor::new(shape, values)?))
}

fn from_typed(element: Element, shape: Vec<usize>, proto: &TensorProto) -> Result<Array> {
    let half_bits = |value: &i32| {
        u16::try_from(*value)
            .map_err(|_| Error::format(format!("data: expected 16 bits, got {value}")))
    };
    let array = match element {
        Element::F32 => Array::F32(Tensor::new(shape, proto.float_data.clone())?),
        Element::F64 => {
            let values = proto.double_data.iter().map(|v| narrow(*v)).collect();
            Array::F32(Tensor::new(shape, values)?)
        }
        Element::F16 | Element::Bf16 => {
            let value = |v: &i32| {
                half_bits(v).map(|bits| match element {
                    Element::F16 => half::f16::from_bits(bits).to_f32(),
                    _ => half::bf16::from_bits(bits).to_f32(),
                })
            };
            let values = proto.int32_data.iter().map(value).collect::<Result<Vec<_>>>()?;
            Array::F32(Tensor::new(shape, values)?)
        }
        Element::I64 => Array::I64(Tensor::new(shape, proto.int64_data.clone())?),
        Element::U32 | Element::U64 => {
            let values =
                proto.uint64_data.iter().map(|v| unsigned(*v)).collect::<Result<Vec<_>>>()?;
            Array::I64(Tensor::new(shape, values)?)
        }
        Element::Bool => {
            let values = proto.int32_data.iter().map(|v| i64::from(*v != 0)).collect();
            Array::I64(Tensor::new(shape, values)?)
        }
        Element::U8 | Element::I8 | Element::U16 | Element::I16 | Element::I32 => {
            let values = proto.int32_data.iter().map(|v| i64::from(*v)).collect();
            Array::I64(Tensor::new(shape, values)?)
        }
    };
    Ok(array)
}

/// Reads `bytes` bytes out of the file that the message names.
fn external(proto: &TensorProto, folder: Option<&Path>, bytes: usize) -> Result<Vec<u8>> {
    let entry = |key: &str| {
        proto.external_data.iter().find(|entry| entry.key == key).map(|e| e.value.as_str())
    };
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(text) => text.parse::<u64>().map(Some).map_err(|_| {
            Error::format(format!("external data {key}: expected a number, got {text:?}"))
        }),
    };
    let location = entry("location")
        .ok_or_else(|| Error::format("external data location: expected a file, got nothing"))?;
    let folder = folder.ok_or_else(|| {
        Error::unsupported(format!(
            "external data: expected all data inside the bytes, got file {location:?} (load the \
             model from its folder)"
        ))
    })?;
    let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
    let wanted = u64::try_from(bytes).map_err(|_| Error::format("shape: too many values"))?;
    if length.is_some_and(|length| length != wanted) {
        return Err(Error::format(format!(
            "external data length: expected {wanted} bytes for shape {:?}, got {}",
            proto.dims,
            length.unwrap_or(0)
        )));
    }
    let path = inside(folder, location)?;
    let io = |e| Error::io(&path, "read external data", e);
    let mut file = std::fs::File::open(&path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    if offset.checked_add(wanted).is_none_or(|end| end > size) {
        return Err(Error::format(format!(
            "external data {location:?}: expected {wanted} bytes at {offset}, got a file of {size}"
        )));
    }
    file.seek(SeekFrom::Start(offset)).map_err(io)?;
    let mut raw = vec![0; bytes];
    file.read_exact(&mut raw).map_err(io)?;
    Ok(raw)
}

/// Joins a folder and a file name that must stay inside of it, links followed.
fn inside(folder: &Path, location: &str) -> Result<PathBuf> {
    let relative = Path::new(location);
    let outside = || {
        Error::format(format!(
            "external data location: expected a file in the model's folder, got {location:?}"
        ))
    };
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if location.is_empty() || location.contains('\0') || !relative.components().all(plain) {
        return Err(outside());
    }
    let path = folder.join(relative);
    let real = |p: &Path| p.canonicalize().map_err(|e| Error::io(p, "find external data", e));
    let (path, folder) = (real(&path)?, real(folder)?);
    if path.starts_with(&folder) && path.is_file() { Ok(path) } else { Err(outside()) }
}
