//! Sequences out of one NumPy array: which axis is which, and where a sequence ends.
//!
//! ```text
//! dense network, floats      [B, T, I]          [T, B, I] with the time-first layout
//!                            [T, I]             one sequence
//!                            [B, T]             1 feature, last axis not 1; [T, B] time first
//!                            [T]                1 feature, one sequence
//! token network, integers    [B, T]             [T, B] time first
//!                            [T]                one sequence
//! ```

use wgpu_rnn::{Layout, Result, States};

use super::{Known, Source};
use crate::data::array::Array;
use crate::data::{Sequence, Values, Wanted};
use crate::failure::shape_error;

/// Most sequences of an array whose sequences are all empty.
const MOST_EMPTY: usize = 1_000_000;

/// How the array is to be taken.
#[derive(Debug)]
pub(crate) struct Form {
    /// Order of batch and time.
    pub(crate) layout: Layout,
    /// Lengths of the sequences.
    pub(crate) lengths: Option<Vec<i128>>,
}

/// Sizes, and distances between neighbours in elements.
#[derive(Clone, Copy, Debug, Default)]
struct Axes {
    batch: usize,
    steps: usize,
    batch_stride: usize,
    step_stride: usize,
    feature_stride: usize,
}

/// The sequences of an array.
pub(crate) struct ArraySource {
    array: Array,
    axes: Axes,
    wanted: Wanted,
    lengths: Option<Vec<usize>>,
    initial: Option<States>,
    label: String,
    next: usize,
}

impl ArraySource {
    /// Checks type and axes of `array` against what the network wants.
    ///
    /// # Errors
    /// `Shape` when they do not fit, or a length is out of range.
    pub(crate) fn new(array: Array, wanted: Wanted, form: Form, label: &str) -> Result<Self> {
        let axes = axes(&array, &wanted, form.layout)?;
        let lengths = form.lengths.map(|lengths| check_lengths(&lengths, &axes)).transpose()?;
        Ok(Self { array, axes, wanted, lengths, initial: None, label: label.to_owned(), next: 0 })
    }

    /// Adds initial states that came in the same file.
    pub(crate) fn with_initial(self, initial: Option<States>) -> Self {
        Self { initial, ..self }
    }

    fn dense(&self, b: usize, steps: usize) -> Result<Vec<f32>> {
        let features = self.wanted.features;
        let mut values = Vec::with_capacity(steps * features);
        let start = b * self.axes.batch_stride;
        let Axes { step_stride, feature_stride, .. } = self.axes;
        if feature_stride == 1 && step_stride == features {
            self.array.floats(start, 1, steps * features, &mut values)?;
            return Ok(values);
        }
        for t in 0..steps {
            let at = start + t * step_stride;
            self.array.floats(at, feature_stride, features, &mut values)?;
        }
        Ok(values)
    }

    fn tokens(&self, b: usize, steps: usize) -> Result<Vec<u32>> {
        (0..steps)
            .map(|t| {
                let place = b * self.axes.batch_stride + t * self.axes.step_stride;
                let id = self.array.integer(place);
                self.wanted.token(id).map_err(|e| e.in_context(format!("step {t}")))
            })
            .collect()
    }
}

impl Source for ArraySource {
    fn next_sequence(&mut self) -> Result<Option<Sequence>> {
        let b = self.next;
        if b == self.axes.batch {
            return Ok(None);
        }
        self.next += 1;
        let steps = self.lengths.as_ref().map_or(self.axes.steps, |lengths| lengths[b]);
        let values = if self.wanted.vocab.is_some() {
            self.tokens(b, steps).map(Values::Tokens)
        } else {
            self.dense(b, steps).map(Values::Dense)
        };
        let values = values.map_err(|e| e.in_context(format!("{}: sequence {b}", self.label)))?;
        Ok(Some(Sequence { id: None, values }))
    }

    fn known(&self) -> Known {
        Known {
            sequences: Some(self.axes.batch),
            steps: Some(self.axes.steps),
            uniform: self.lengths.is_none(),
            narrowed: self.array.is_double(),
        }
    }

    fn take_initial(&mut self) -> Option<States> {
        self.initial.take()
    }
}

fn axes(array: &Array, wanted: &Wanted, layout: Layout) -> Result<Axes> {
    let (shape, strides) = (array.shape(), array.strides());
    let fault = |hint: &str| {
        let kind = if array.is_float() { "floats" } else { "integers" };
        shape_error(format!(
            "input: expected {}, got {kind} ({}) of shape {shape:?}{hint}",
            wanted.describe(),
            array.type_name()
        ))
    };
    if wanted.vocab.is_some() && array.is_float() {
        return Err(fault(" (token ids have an integer type)"));
    }
    if wanted.vocab.is_none() && !array.is_float() {
        return Err(fault(" (integers are token ids; convert features to float32)"));
    }
    // `sequences` tells the batch axis from the time axis, where there are both.
    let both = |features_last: bool| {
        let (b, t) = if layout == Layout::BatchFirst { (0, 1) } else { (1, 0) };
        Axes {
            batch: shape[b],
            steps: shape[t],
            batch_stride: strides[b],
            step_stride: strides[t],
            feature_stride: if features_last { strides[2] } else { 1 },
        }
    };
    let single = |feature_stride| Axes {
        batch: 1,
        steps: shape[0],
        batch_stride: 0,
        step_stride: strides[0],
        feature_stride,
    };
    let features = wanted.features;
    let axes = match (shape, wanted.vocab) {
        ([_], Some(_)) => single(1),
        ([_, _], Some(_)) => both(false),
        ([_], None) if features == 1 => single(1),
        ([_, last], None) if *last == features => single(strides[1]),
        ([_, _], None) if features == 1 => both(false),
        ([_, _, last], None) if *last == features => both(true),
        ([_], _) | ([_, _] | [_, _, _], None) => {
            return Err(fault(" (the last axis holds the features)"));
        }
        (_, Some(_)) => return Err(fault(" (tokens have the axes [B, T] or [T])")),
        (_, None) => return Err(fault(" (features have the axes [B, T, I] or [T, I])")),
    };
    if axes.batch == 0 {
        return Err(fault(" (expected at least 1 sequence)"));
    }
    // Such an array has no data that bound the number of its rows.
    if axes.steps == 0 && axes.batch > MOST_EMPTY {
        return Err(fault(&format!(" (expected at most {MOST_EMPTY} sequences without steps)")));
    }
    Ok(axes)
}

fn check_lengths(lengths: &[i128], axes: &Axes) -> Result<Vec<usize>> {
    if lengths.len() != axes.batch {
        return Err(shape_error(format!(
            "lengths: expected one per sequence = {}, got {}",
            axes.batch,
            lengths.len()
        )));
    }
    let check = |(row, length): (usize, &i128)| {
        usize::try_from(*length).ok().filter(|length| *length <= axes.steps).ok_or_else(|| {
            shape_error(format!(
                "lengths: expected 0 to T = {}, got {length} in row {row}",
                axes.steps
            ))
        })
    };
    lengths.iter().enumerate().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::array::{Bytes, header};

    fn array(element: &str, shape: &[usize], data: &[u8]) -> Array {
        let mut bytes = header(element, shape, 128).expect("a header");
        bytes.extend(data);
        Array::new(Bytes::Owned(bytes)).expect("an array")
    }

    fn floats(shape: &[usize]) -> Array {
        let count = u8::try_from(shape.iter().product::<usize>()).expect("a small array");
        let data: Vec<u8> = (0..count).flat_map(|i| f32::from(i).to_le_bytes()).collect();
        array("<f4", shape, &data)
    }

    fn wanted(features: usize, vocab: Option<usize>) -> Wanted {
        Wanted { features, vocab, ..Wanted::default() }
    }

    fn read(array: Array, wanted: Wanted, layout: Layout) -> Result<Vec<Values>> {
        let mut source = ArraySource::new(array, wanted, Form { layout, lengths: None }, "x")?;
        let mut all = Vec::new();
        while let Some(sequence) = source.next_sequence()? {
            all.push(sequence.values);
        }
        Ok(all)
    }

    #[test]
    fn axes_follow_rank_and_layout() {
        let dense = |rows: &[&[f32]]| -> Vec<Values> {
            rows.iter().map(|row| Values::Dense(row.to_vec())).collect()
        };
        let cases = [
            (vec![2, 2, 1], 1, Layout::BatchFirst, dense(&[&[0., 1.], &[2., 3.]])),
            (vec![2, 2, 1], 1, Layout::TimeMajor, dense(&[&[0., 2.], &[1., 3.]])),
            (vec![2, 2], 2, Layout::BatchFirst, dense(&[&[0., 1., 2., 3.]])),
            (vec![2, 2], 1, Layout::BatchFirst, dense(&[&[0., 1.], &[2., 3.]])),
            (vec![2, 2], 1, Layout::TimeMajor, dense(&[&[0., 2.], &[1., 3.]])),
            (vec![3, 1], 1, Layout::BatchFirst, dense(&[&[0., 1., 2.]])),
            (vec![3], 1, Layout::BatchFirst, dense(&[&[0., 1., 2.]])),
        ];
        for (shape, features, layout, want) in cases {
            let got = read(floats(&shape), wanted(features, None), layout).expect("readable");
            assert_eq!(got, want, "{shape:?} {layout:?}");
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused_with_both_shapes() {
        for (shape, features) in
            [(vec![2, 3], 2), (vec![4], 2), (vec![2, 2, 1], 2), (vec![0, 1, 2], 2)]
        {
            let error = read(floats(&shape), wanted(features, None), Layout::BatchFirst)
                .expect_err("refused");
            assert!(error.to_string().contains(&format!("{shape:?}")), "{error}");
        }
        let error = read(floats(&[2]), wanted(1, Some(4)), Layout::BatchFirst).expect_err("floats");
        assert!(error.to_string().contains("integer"), "{error}");
    }

    #[test]
    fn integers_of_every_type_are_tokens() {
        for (element, one) in [
            ("|i1", vec![1]),
            ("|u1", vec![1]),
            ("<i2", vec![1, 0]),
            (">i2", vec![0, 1]),
            ("<u4", vec![1, 0, 0, 0]),
            (">i8", vec![0, 0, 0, 0, 0, 0, 0, 1]),
            ("<u8", vec![1, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            let got = read(array(element, &[1], &one), wanted(1, Some(2)), Layout::BatchFirst);
            assert_eq!(got.expect("readable"), [Values::Tokens(vec![1])], "{element}");
        }
        let negative = array("<i2", &[1, 2], &[1, 0, 0xff, 0xff]);
        let error = read(negative, wanted(1, Some(2)), Layout::BatchFirst).expect_err("negative");
        assert_eq!(error.to_string(), "x: sequence 0: step 1: expected token ids 0 to 1, got -1");
    }

    #[test]
    fn floats_of_every_type_and_order_are_read() {
        let doubles: Vec<u8> = [0f64, 1., 2., 3.].iter().flat_map(|v| v.to_be_bytes()).collect();
        let got = read(array(">f8", &[2, 2], &doubles), wanted(2, None), Layout::BatchFirst);
        assert_eq!(got.expect("readable"), [Values::Dense(vec![0., 1., 2., 3.])]);
        let mut bytes = header("<f4", &[2, 2], 128).expect("a header");
        let at = bytes.windows(5).position(|w| w == b"False").expect("a flag");
        bytes.splice(at..at + 5, *b"True ");
        bytes.extend([0f32, 1., 2., 3.].iter().flat_map(|v| v.to_le_bytes()));
        let fortran = Array::new(Bytes::Owned(bytes)).expect("an array");
        let got = read(fortran, wanted(2, None), Layout::BatchFirst).expect("readable");
        assert_eq!(got, [Values::Dense(vec![0., 2., 1., 3.])]);
        let huge = array("<f8", &[1], &1e300f64.to_le_bytes());
        let error = read(huge, wanted(1, None), Layout::BatchFirst).expect_err("too large");
        assert!(error.to_string().contains("range"), "{error}");
    }

    #[test]
    fn damaged_files_are_refused() {
        let whole = {
            let mut bytes = header("<f4", &[2], 128).expect("a header");
            bytes.extend([0; 8]);
            bytes
        };
        for cut in [0, 3, 7, 9, 50, 127, 130, 135] {
            assert!(Array::new(Bytes::Owned(whole[..cut].to_vec())).is_err(), "cut at {cut}");
        }
        for shape in [vec![usize::MAX, 2], vec![usize::MAX / 2]] {
            let bytes = header("<f4", &shape, 192).expect("a header");
            assert!(Array::new(Bytes::Owned(bytes)).is_err(), "{shape:?}");
        }
        let complex = header("<c8", &[0], 128).expect("a header");
        let error = Array::new(Bytes::Owned(complex)).err().expect("refused").to_string();
        assert!(error.contains("got <c8"), "{error}");
    }
}
