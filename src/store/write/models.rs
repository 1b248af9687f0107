//! Names of models and their numbers.

use std::sync::Arc;

use redb::{Table, WriteTransaction};

use super::name_cache::NameCache;
use crate::model::{ModelNumber, RunNumber};
use crate::store::error::DbError;
use crate::store::schema::{MODEL_RUNS, MODELS, NO_RUN};

/// Maximum number of model names with sums of their own; the rest are counted under [`MODEL_OTHER`].
pub const MODELS_MAX: usize = 4096;
/// Maximum number of them that one run can bring: so others have room for theirs, whatever its lines contain.
pub const MODELS_PER_RUN_MAX: usize = 128;
/// The same for all records of no run: of routers, whose model names are not chosen by an agent.
pub const MODELS_OF_NO_RUN_MAX: usize = 2048;
/// The name of all models beyond [`MODELS_MAX`] and [`MODELS_PER_RUN_MAX`].
pub const MODEL_OTHER: &str = "(other)";

/// The tables of models, in a transaction.
pub struct ModelTables<'t> {
    models: Table<'t, u32, &'static str>,
    /// The run that brought each model.
    runs: Table<'t, u32, u32>,
    /// The model looked up last.
    last: Option<(Arc<str>, ModelNumber)>,
}

impl<'t> ModelTables<'t> {
    pub fn new(write: &'t WriteTransaction) -> Result<Self, DbError> {
        Ok(Self {
            models: write.open_table(MODELS)?,
            runs: write.open_table(MODEL_RUNS)?,
            last: None,
        })
    }

    /// The shared name and the number of a model, created if it has none and there is room for a name from
    /// `run`.
    pub fn number(
        &mut self,
        names: &mut NameCache,
        name: &str,
        run: RunNumber,
    ) -> Result<(Arc<str>, ModelNumber), DbError> {
        if let Some((last, number)) = &self.last
            && **last == *name
        {
            return Ok((Arc::clone(last), *number));
        }
        let brought = names.brought.get(&run).copied().unwrap_or_default();
        let most = if run == NO_RUN {
            MODELS_OF_NO_RUN_MAX
        } else {
            MODELS_PER_RUN_MAX
        };
        let has_room = names.models.len() < MODELS_MAX && brought < most;
        let is_known = names.model_numbers.contains_key(name);
        let name = if is_known || has_room { name } else { MODEL_OTHER };
        let (shared, number) = match names.model_numbers.get_key_value(name) {
            Some((shared, number)) => (Arc::clone(shared), *number),
            None => self.add(names, name, run)?,
        };
        self.last = Some((Arc::clone(&shared), number));
        Ok((shared, number))
    }

    fn add(
        &mut self,
        names: &mut NameCache,
        name: &str,
        run: RunNumber,
    ) -> Result<(Arc<str>, ModelNumber), DbError> {
        let number = u32::try_from(names.models.len()).unwrap_or(u32::MAX);
        let shared: Arc<str> = name.into();
        self.models.insert(number, name)?;
        if name != MODEL_OTHER {
            self.runs.insert(number, run)?;
            *names.brought.entry(run).or_default() += 1;
        }
        names.model_numbers.insert(Arc::clone(&shared), number);
        names.models.push(Arc::clone(&shared));
        Ok((shared, number))
    }
}
