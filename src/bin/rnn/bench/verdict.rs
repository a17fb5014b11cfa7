//! `--assert`: whether the automatic choice is as fast as the best strategy of the device.
//!
//! Strategies are compared round by round: samples of a round were taken one right after the other, so
//! that a slow spell of the machine meets both sides of a ratio. A strategy that runs the very drivers
//! of the choice is no rival but a second measurement of it.

use wgpu_rnn::Strategy;

use super::measure::Stats;

/// How much slower than the best the automatic choice may be.
const MOST: f64 = 1.10;

/// A strategy that was measured.
pub(super) struct Contender<'a> {
    /// What was asked for.
    pub(super) strategy: Strategy,
    /// The drivers that ran.
    pub(super) used: &'a str,
    /// Seconds, one a round.
    pub(super) seconds: &'a [f64],
}

/// How the automatic choice stands to its best rival.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Verdict {
    /// The rival.
    pub(super) best: Strategy,
    /// Time of the automatic choice over the time of the rival, the median of the rounds.
    pub(super) ratio: f64,
}

impl Verdict {
    /// Returns whether the choice is good enough.
    pub(super) fn is_good(self) -> bool {
        // Written so that NaN fails.
        self.ratio <= MOST
    }
}

/// Compares the automatic choice with every rival and returns the worst ratio; `None` when it was not
/// measured, or no other drivers were.
pub(super) fn judge(contenders: &[Contender<'_>]) -> Option<Verdict> {
    let auto = contenders.iter().find(|c| c.strategy == Strategy::Auto)?;
    let (own, rivals): (Vec<_>, Vec<_>) = contenders.iter().partition(|c| c.used == auto.used);
    let verdicts = rivals.into_iter().filter_map(|rival| {
        let rounds = rival.seconds.iter().enumerate();
        let ratios: Vec<f64> =
            rounds.filter_map(|(round, seconds)| Some(mean(&own, round)? / seconds)).collect();
        Some(Verdict { best: rival.strategy, ratio: Stats::of(&ratios)?.median })
    });
    verdicts.max_by(|a, b| a.ratio.total_cmp(&b.ratio))
}

/// Returns the mean of a round; `None` when somebody lacks it.
fn mean(contenders: &[&Contender<'_>], round: usize) -> Option<f64> {
    let seconds: Option<Vec<f64>> =
        contenders.iter().map(|c| c.seconds.get(round).copied()).collect();
    let seconds = seconds?;
    Some(seconds.iter().sum::<f64>() / super::workload::as_f64(seconds.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTO: Strategy = Strategy::Auto;
    const STEP: Strategy = Strategy::StepPerDispatch;
    const RESIDENT: Strategy = Strategy::Resident;

    fn judge_of(rows: &[(Strategy, &str, &[f64])]) -> Option<Verdict> {
        let contenders: Vec<_> = rows
            .iter()
            .map(|(strategy, used, seconds)| Contender { strategy: *strategy, used, seconds })
            .collect();
        judge(&contenders)
    }

    #[test]
    fn judge_fails_beyond_ten_percent_only() {
        let of = |auto: f64| {
            judge_of(&[
                (AUTO, "step + resident", &[auto]),
                (STEP, "step", &[3.0]),
                (RESIDENT, "resident", &[1.0]),
            ])
            .expect("measured")
        };
        assert!(of(1.09).is_good() && of(0.5).is_good());
        assert_eq!(of(1.5), Verdict { best: RESIDENT, ratio: 1.5 });
        assert!(!of(1.5).is_good() && !of(f64::NAN).is_good());
    }

    #[test]
    fn judge_compares_rounds_and_not_spells_of_the_machine() {
        // Three times as slow from the third round on, for everybody.
        let verdict = judge_of(&[
            (AUTO, "step", &[1.0, 1.0, 3.0, 3.0, 3.0]),
            (RESIDENT, "resident", &[1.0, 1.0, 3.0, 3.0]),
        ]);
        assert_eq!(verdict, Some(Verdict { best: RESIDENT, ratio: 1.0 }));
    }

    #[test]
    fn judge_takes_the_same_drivers_for_the_choice_itself() {
        let same = [(AUTO, "step", &[1.5][..]), (STEP, "step", &[1.0])];
        assert_eq!(judge_of(&same), None, "nothing else was measured");
        let verdict = judge_of(&[same[0], same[1], (RESIDENT, "resident", &[1.25])]);
        assert_eq!(verdict, Some(Verdict { best: RESIDENT, ratio: 1.0 }), "the mean of both");
        assert_eq!(judge_of(&[same[1], (RESIDENT, "resident", &[1.0])]), None, "no choice");
    }
}
