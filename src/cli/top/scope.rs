//! The scope of the command line: `--run` and `--account`.

use super::model::PeriodSums;
use crate::api::wire;
use crate::cli::args::TopArgs;
use crate::globs::NamePattern;

/// The runs and accounts that are shown.
#[derive(Clone, Debug, Default)]
pub struct TopScope {
    run: Option<NamePattern>,
    account: Option<String>,
}

impl TopScope {
    /// The scope of these arguments.
    ///
    /// # Errors
    /// `--run` is no pattern.
    pub fn of(args: &TopArgs) -> Result<Self, String> {
        Ok(Self {
            run: args.run.as_deref().map(NamePattern::new).transpose()?,
            account: args.account.clone(),
        })
    }

    /// True if nothing is left out.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        self.run.is_none() && self.account.is_none()
    }

    /// True if sums have to be requested by run, as no parameter of the route takes a pattern.
    #[must_use]
    pub const fn is_by_run(&self) -> bool {
        self.run.is_some()
    }

    #[must_use]
    pub fn wants_run(&self, id: &str) -> bool {
        self.run.as_ref().is_none_or(|pattern| pattern.matches(id))
    }

    #[must_use]
    pub fn wants_account(&self, provider: &str, account: &str) -> bool {
        let Some(wanted) = &self.account else {
            return true;
        };
        wanted == account
            || wanted
                .strip_prefix(provider)
                .and_then(|rest| rest.strip_prefix('/'))
                == Some(account)
    }

    /// The account as `PROVIDER/NAME`, if the scope has one and the documents name it.
    #[must_use]
    pub fn account<'q>(&self, quota: Option<&'q wire::Quota>) -> Option<&'q wire::Account> {
        self.account.as_ref()?;
        let accounts = quota.map_or(&[][..], |quota| &quota.accounts);
        accounts
            .iter()
            .find(|one| self.wants_account(&one.provider, &one.account))
    }

    /// Sums by run and model as sums by model of the wanted runs; others are unchanged.
    #[must_use]
    pub fn only(&self, sums: PeriodSums) -> PeriodSums {
        if !self.is_by_run() {
            return sums;
        }
        let PeriodSums { period, mut usage } = sums;
        let mut by_model: std::collections::BTreeMap<Option<String>, wire::UsageSums> =
            std::collections::BTreeMap::new();
        let mut totals = wire::UsageSums::default();
        for row in usage.rows.drain(..) {
            let mut keys = row.keys.unwrap_or_default();
            let run = keys.remove("run").flatten();
            if run.is_some_and(|run| self.wants_run(&run)) {
                add(&mut totals, &row.sums);
                add(
                    by_model.entry(keys.remove("model").flatten()).or_default(),
                    &row.sums,
                );
            }
        }
        let row = |(key, sums)| wire::UsageRow {
            key: Some(key),
            keys: None,
            sums,
        };
        usage.rows = by_model.into_iter().map(row).collect();
        usage.totals = totals;
        PeriodSums { period, usage }
    }
}

fn add(sum: &mut wire::UsageSums, other: &wire::UsageSums) {
    let pairs = [
        (&mut sum.messages, other.messages),
        (&mut sum.totals.input_tokens, other.totals.input_tokens),
        (&mut sum.totals.output_tokens, other.totals.output_tokens),
        (
            &mut sum.totals.cache_creation_input_tokens,
            other.totals.cache_creation_input_tokens,
        ),
        (
            &mut sum.totals.cache_read_input_tokens,
            other.totals.cache_read_input_tokens,
        ),
        (&mut sum.totals.total_tokens, other.totals.total_tokens),
    ];
    for (sum, more) in pairs {
        *sum = sum.saturating_add(more);
    }
    sum.cost.estimated_cost_usd = match (sum.cost.estimated_cost_usd, other.cost.estimated_cost_usd) {
        (Some(sum), Some(more)) => Some(sum + more),
        (known, more) => known.or(more),
    };
    if let Some(more) = &other.cost.unpriced {
        let unpriced = sum.cost.unpriced.get_or_insert_default();
        unpriced.models.extend(more.models.iter().cloned());
        unpriced.tokens = unpriced.tokens.saturating_add(more.tokens);
    }
}
