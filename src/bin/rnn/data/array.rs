//! NumPy's `.npy` arrays: header, element types, strides.
//!
//! The header is parsed here, with checked sizes, since a map of a large file needs the offset of
//! its data and a hostile shape must give an error. Format: NEP 1,
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::ops::Deref;

use wgpu_rnn::{Result, Tensor};

use super::narrow;
use crate::failure::{format_error, shape_error};

/// The first bytes of every `.npy` file.
pub(crate) const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// An element type: kind `f`, `i` or `u`, size in bytes, byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ElementType {
    kind: Kind,
    size: usize,
    big_endian: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Float,
    Signed,
    Unsigned,
}

/// What an array's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Header {
    element: ElementType,
    name: String,
    fortran: bool,
    shape: Vec<usize>,
    /// Where the data start.
    offset: usize,
}

/// The bytes of a file: mapped or read.
pub(crate) enum Bytes {
    /// In memory.
    Owned(Vec<u8>),
    /// Mapped from a file.
    Mapped(memmap2::Mmap),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }
}

/// An array whose elements are decoded as they are asked for.
pub(crate) struct Array {
    header: Header,
    strides: Vec<usize>,
    bytes: Bytes,
}

impl Array {
    /// Reads the header and checks that the data are all there.
    ///
    /// # Errors
    /// `Format` when the header is damaged, the type is not a plain number, or data are missing.
    pub(crate) fn new(bytes: Bytes) -> Result<Self> {
        let header = parse_header(&bytes)?;
        let count = header.shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
        let expected = count.and_then(|n| n.checked_mul(header.element.size));
        let got = bytes.len() - header.offset;
        if expected != Some(got) {
            let expected =
                expected.map_or_else(|| "more than memory can".to_owned(), |n| n.to_string());
            return Err(format_error(format!(
                "npy data: expected {expected} bytes for {} {:?}, got {got} (is the file cut short?)",
                header.name, header.shape
            )));
        }
        let strides = strides(&header.shape, header.fortran);
        Ok(Self { header, strides, bytes })
    }

    /// Returns the axes, outermost first.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// Returns, per axis, how many elements lie between neighbours.
    pub(crate) fn strides(&self) -> &[usize] {
        &self.strides
    }

    /// Returns the type as the file spells it, such as `<f4`.
    pub(crate) fn type_name(&self) -> &str {
        &self.header.name
    }

    /// Tells whether the elements are floats.
    pub(crate) fn is_float(&self) -> bool {
        self.header.element.kind == Kind::Float
    }

    /// Tells whether the elements are wider than f32.
    pub(crate) fn is_double(&self) -> bool {
        self.is_float() && self.header.element.size == 8
    }

    fn element(&self, index: usize) -> &[u8] {
        let size = self.header.element.size;
        let start = self.header.offset + index * size;
        &self.bytes[start..start + size]
    }

    /// Reads the element at storage place `index` as a float.
    ///
    /// # Errors
    /// `Shape` when it does not fit f32.
    pub(crate) fn float(&self, index: usize) -> Result<f32> {
        let (bytes, big) = (self.element(index), self.header.element.big_endian);
        if let Some(bytes) = fixed::<4>(bytes, big) {
            return Ok(f32::from_le_bytes(bytes));
        }
        if let Some(bytes) = fixed::<2>(bytes, big) {
            return Ok(half::f16::from_le_bytes(bytes).to_f32());
        }
        narrow(fixed::<8>(bytes, big).map_or(f64::NAN, f64::from_le_bytes))
    }

    /// Reads the element at storage place `index` as an integer.
    pub(crate) fn integer(&self, index: usize) -> i128 {
        let (bytes, element) = (self.element(index), self.header.element);
        let mut wide = [0u8; 16];
        for (to, from) in wide.iter_mut().zip(0..bytes.len()) {
            *to = bytes[if element.big_endian { bytes.len() - 1 - from } else { from }];
        }
        let value = i128::from_le_bytes(wide);
        let bits = 8 * element.size;
        let negative = element.kind == Kind::Signed && (value >> (bits - 1)) & 1 == 1;
        if negative { value - (1 << bits) } else { value }
    }

    /// Appends `count` floats that lie `stride` places apart from `start` on.
    ///
    /// # Errors
    /// `Shape` when one does not fit f32.
    pub(crate) fn floats(
        &self,
        start: usize,
        stride: usize,
        count: usize,
        into: &mut Vec<f32>,
    ) -> Result<()> {
        let element = self.header.element;
        if stride == 1 && element.size == 4 && !element.big_endian {
            let from = self.header.offset + start * 4;
            let bytes = &self.bytes[from..from + count * 4];
            into.extend(
                bytes.chunks_exact(4).filter_map(|b| fixed::<4>(b, false)).map(f32::from_le_bytes),
            );
            return Ok(());
        }
        for i in 0..count {
            into.push(self.float(start + i * stride)?);
        }
        Ok(())
    }

    /// Copies the array out as floats in row-major order.
    ///
    /// # Errors
    /// `Shape` when the elements are not floats or do not fit f32.
    pub(crate) fn to_tensor(&self) -> Result<Tensor> {
        if !self.is_float() {
            return Err(shape_error(format!("expected f32 or f64, got {}", self.type_name())));
        }
        let count = self.count();
        let mut values = Vec::with_capacity(count);
        for flat in 0..count {
            values.push(self.float(self.place(flat))?);
        }
        Tensor::new(self.shape(), values)
    }

    /// Copies an array of integers out in row-major order.
    pub(crate) fn to_whole(&self) -> Vec<i128> {
        (0..self.count()).map(|flat| self.integer(self.place(flat))).collect()
    }

    /// Returns the number of elements, which was checked to fit.
    fn count(&self) -> usize {
        self.shape().iter().product()
    }

    /// Copies an array of one axis out as integers.
    ///
    /// # Errors
    /// `Shape` when it has other axes or holds floats.
    pub(crate) fn to_integers(&self) -> Result<Vec<i128>> {
        if self.is_float() || self.shape().len() != 1 {
            return Err(shape_error(format!(
                "expected one axis of integers, got {} {:?}",
                self.type_name(),
                self.shape()
            )));
        }
        Ok((0..self.shape()[0]).map(|index| self.integer(index)).collect())
    }

    /// Turns a row-major index into a storage place.
    fn place(&self, mut flat: usize) -> usize {
        let mut place = 0;
        for (axis, stride) in self.shape().iter().zip(&self.strides).rev() {
            place += flat % axis * stride;
            flat /= axis;
        }
        place
    }
}

fn fixed<const N: usize>(bytes: &[u8], big_endian: bool) -> Option<[u8; N]> {
    let mut array: [u8; N] = bytes.try_into().ok()?;
    if big_endian {
        array.reverse();
    }
    Some(array)
}

/// Computes strides in elements. The products are bounded by the element count, checked before.
fn strides(shape: &[usize], fortran: bool) -> Vec<usize> {
    let mut strides = vec![0; shape.len()];
    let mut step = 1usize;
    let order: Vec<usize> =
        if fortran { (0..shape.len()).collect() } else { (0..shape.len()).rev().collect() };
    for axis in order {
        strides[axis] = step;
        step = step.saturating_mul(shape[axis]);
    }
    strides
}

fn parse_header(bytes: &[u8]) -> Result<Header> {
    let damaged = |what: &str| format_error(format!("npy header: expected {what} (damaged file?)"));
    if !bytes.starts_with(MAGIC) {
        return Err(damaged("NumPy's magic bytes, got others"));
    }
    let version = *bytes.get(6).ok_or_else(|| damaged("a version, got the end of the file"))?;
    let (start, length) = match version {
        1 => (
            10,
            bytes
                .get(8..10)
                .and_then(|b| fixed::<2>(b, false))
                .map(|b| u32::from(u16::from_le_bytes(b))),
        ),
        2 | 3 => (12, bytes.get(8..12).and_then(|b| fixed::<4>(b, false)).map(u32::from_le_bytes)),
        other => return Err(damaged(&format!("version 1, 2 or 3, got {other}"))),
    };
    let offset = length
        .and_then(|length| usize::try_from(length).ok())
        .and_then(|length| length.checked_add(start))
        .filter(|end| *end <= bytes.len())
        .ok_or_else(|| damaged("a whole header, got the end of the file"))?;
    let text =
        std::str::from_utf8(&bytes[start..offset]).map_err(|_| damaged("text, got bytes"))?;
    let descr = field(text, "descr").ok_or_else(|| damaged("a field descr"))?;
    let order = field(text, "fortran_order").ok_or_else(|| damaged("a field fortran_order"))?;
    let shape =
        field(text, "shape").and_then(parse_shape).ok_or_else(|| damaged("a field shape"))?;
    let fortran = match order {
        order if order.starts_with("True") => true,
        order if order.starts_with("False") => false,
        _ => return Err(damaged("fortran_order True or False")),
    };
    let name = quoted(descr).unwrap_or("a structured type").to_owned();
    let element = parse_type(&name)?;
    Ok(Header { element, name, fortran, shape, offset })
}

/// Returns what follows `'key':` in the header's dictionary.
fn field<'a>(dictionary: &'a str, key: &str) -> Option<&'a str> {
    let at = ['\'', '"'].iter().find_map(|q| dictionary.find(&format!("{q}{key}{q}")))?;
    let rest = dictionary.get(at + key.len() + 2..)?.trim_start();
    Some(rest.strip_prefix(':')?.trim_start())
}

fn quoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split(quote).next()
}

fn parse_shape(text: &str) -> Option<Vec<usize>> {
    let inside = text.strip_prefix('(')?.split(')').next()?;
    let axes = inside.split(',').map(str::trim).filter(|axis| !axis.is_empty());
    axes.map(|axis| axis.trim_end_matches('L').parse().ok()).collect()
}

fn parse_type(name: &str) -> Result<ElementType> {
    let (order, rest) = match name.chars().next() {
        Some(c @ ('<' | '>' | '|' | '=')) => (c, &name[1..]),
        _ => ('=', name),
    };
    let big_endian = order == '>' || order == '=' && cfg!(target_endian = "big");
    let (kind, size) = match rest {
        "f2" | "f4" | "f8" => (Kind::Float, &rest[1..]),
        "i1" | "i2" | "i4" | "i8" => (Kind::Signed, &rest[1..]),
        // A bool is a byte of 0 or 1.
        "b1" | "u1" | "u2" | "u4" | "u8" => (Kind::Unsigned, &rest[1..]),
        _ => {
            return Err(format_error(format!(
                "npy type: expected f2, f4, f8, i1 to i8, u1 to u8 or b1, got {name}"
            )));
        }
    };
    Ok(ElementType { kind, size: size.parse().unwrap_or(1), big_endian })
}

/// Writes the header of a row-major f32 array, padded so that the data start at `room`.
///
/// # Errors
/// `Format` when the shape does not fit into `room` bytes.
pub(crate) fn header(element: &str, shape: &[usize], room: usize) -> Result<Vec<u8>> {
    let axes: String = shape.iter().map(|axis| format!("{axis}, ")).collect();
    let axes = if shape.len() == 1 { axes.trim_end() } else { axes.trim_end_matches(", ") };
    let text = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': ({axes}), }}");
    let length = room.checked_sub(10).filter(|length| *length > text.len());
    let length = length
        .and_then(|length| u16::try_from(length).ok())
        .ok_or_else(|| format_error(format!("npy header: expected at most {room} bytes")))?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend(length.to_le_bytes());
    bytes.extend(text.bytes());
    bytes.resize(room - 1, b' ');
    bytes.push(b'\n');
    Ok(bytes)
}

/// Bytes that [`header`] takes in all files we write; fits three axes of any size.
pub(crate) const HEADER_ROOM: usize = 192;

/// Writes a whole array of floats.
///
/// # Errors
/// As [`header`].
pub(crate) fn encode(tensor: &Tensor) -> Result<Vec<u8>> {
    let mut bytes = header("<f4", tensor.shape(), HEADER_ROOM)?;
    bytes.extend(tensor.data().iter().flat_map(|value| value.to_le_bytes()));
    Ok(bytes)
}

/// Writes an array of 64-bit integers.
///
/// # Errors
/// As [`header`].
pub(crate) fn encode_whole(shape: &[usize], values: &[i64]) -> Result<Vec<u8>> {
    let mut bytes = header("<i8", shape, HEADER_ROOM)?;
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    Ok(bytes)
}
