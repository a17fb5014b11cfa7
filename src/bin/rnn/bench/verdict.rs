//! `--assert`: whether the automatic choice is as fast as the best strategy of the device.

use wgpu_rnn::Strategy;

/// How much slower than the best the automatic choice may be.
const MOST: f64 = 1.10;

/// An automatic choice that is too slow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TooSlow {
    /// The fastest strategy.
    pub(super) best: Strategy,
    /// Time of the automatic choice over the time of the best.
    pub(super) ratio: f64,
}

/// Compares the medians of one measure; `None` when the automatic choice is fast enough, or was not
/// measured, or nothing else was.
pub(super) fn judge(medians: &[(Strategy, f64)]) -> Option<TooSlow> {
    let (_, auto) = medians.iter().find(|(strategy, _)| *strategy == Strategy::Auto)?;
    let others = medians.iter().filter(|(strategy, _)| *strategy != Strategy::Auto);
    let (best, fastest) = others.min_by(|a, b| a.1.total_cmp(&b.1))?;
    let ratio = auto / fastest;
    // Written so that NaN fails.
    let is_fast = ratio <= MOST;
    (!is_fast).then_some(TooSlow { best: *best, ratio })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judge_fails_beyond_ten_percent_only() {
        let (auto, step, resident) =
            (Strategy::Auto, Strategy::StepPerDispatch, Strategy::Resident);
        assert_eq!(judge(&[(auto, 1.09), (step, 3.0), (resident, 1.0)]), None);
        let slow = judge(&[(auto, 1.5), (step, 3.0), (resident, 1.0)]).expect("too slow");
        assert_eq!(slow, TooSlow { best: resident, ratio: 1.5 });
        assert_eq!(judge(&[(auto, 0.5), (step, 1.0)]), None, "faster than all");
        assert_eq!(judge(&[(auto, 1.5)]), None, "nothing to compare with");
        assert_eq!(judge(&[(step, 1.5), (resident, 1.0)]), None, "not measured");
        assert!(judge(&[(auto, f64::NAN), (step, 1.0)]).is_some());
    }
}
