//! A sorted map of paths without spare room: most trees have a few files, and thousands of trees rest.
//!
//! A node of a `BTreeMap` has room for eleven entries. Here an entry in the middle moves those behind it, but a
//! scan adds new paths in their order.

use std::borrow::Borrow;

use crate::model::RelativePath;

/// A map from paths to values.
#[derive(Debug)]
pub(super) struct PathMap<T>(Vec<(RelativePath, T)>);

impl<T> Default for PathMap<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> PathMap<T> {
    /// The place of a path, or the one where it belongs.
    fn place<Q: Ord + ?Sized>(&self, path: &Q) -> Result<usize, usize>
    where
        RelativePath: Borrow<Q>,
    {
        match self.0.last() {
            Some((last, _)) if last.borrow() < path => Err(self.0.len()),
            _ => self.0.binary_search_by(|(one, _)| one.borrow().cmp(path)),
        }
    }

    pub(super) fn get<Q: Ord + ?Sized>(&self, path: &Q) -> Option<&T>
    where
        RelativePath: Borrow<Q>,
    {
        self.place(path).ok().map(|place| &self.0[place].1)
    }

    pub(super) fn get_mut<Q: Ord + ?Sized>(&mut self, path: &Q) -> Option<&mut T>
    where
        RelativePath: Borrow<Q>,
    {
        self.place(path).ok().map(|place| &mut self.0[place].1)
    }

    pub(super) fn contains_key<Q: Ord + ?Sized>(&self, path: &Q) -> bool
    where
        RelativePath: Borrow<Q>,
    {
        self.place(path).is_ok()
    }

    /// Adds or replaces a value.
    pub(super) fn insert(&mut self, path: RelativePath, value: T) {
        match self.place(&path) {
            Ok(place) => self.0[place].1 = value,
            Err(place) => self.0.insert(place, (path, value)),
        }
    }

    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, path: &Q) -> Option<T>
    where
        RelativePath: Borrow<Q>,
    {
        self.place(path).ok().map(|place| self.0.remove(place).1)
    }

    /// The value of a path, which is added if it is missing.
    pub(super) fn or_default(&mut self, path: &RelativePath) -> &mut T
    where
        T: Default,
    {
        let place = self.place(path).unwrap_or_else(|place| {
            self.0.insert(place, (path.clone(), T::default()));
            place
        });
        &mut self.0[place].1
    }

    /// Keeps the entries for which `keeps` is true, which sees them in their order.
    pub(super) fn retain(&mut self, mut keeps: impl FnMut(&RelativePath, &mut T) -> bool) {
        self.0.retain_mut(|(path, value)| keeps(path, value));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&RelativePath, &T)> {
        self.0.iter().map(|(path, value)| (path, value))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&RelativePath, &mut T)> {
        self.0.iter_mut().map(|(path, value)| (&*path, value))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &RelativePath> {
        self.0.iter().map(|(path, _)| path)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, value)| value)
    }

    pub(super) fn into_keys(self) -> impl Iterator<Item = RelativePath> {
        self.0.into_iter().map(|(path, _)| path)
    }

    /// Gives spare room back.
    pub(super) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }
}

/// The paths of another map: each once, in their order.
impl<T> FromIterator<(RelativePath, T)> for PathMap<T> {
    fn from_iter<I: IntoIterator<Item = (RelativePath, T)>>(entries: I) -> Self {
        let mut map = Self::default();
        for (path, value) in entries {
            map.insert(path, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    #[test]
    fn it_is_a_sorted_map() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut map, mut model) = (PathMap::default(), BTreeMap::new());
        for step in 0..4000_u32 {
            let path: RelativePath = Path::new(&random.u8(..40).to_string()).into();
            match random.u8(..6) {
                0 | 1 => {
                    map.insert(path.clone(), step);
                    model.insert(path, step);
                }
                2 => assert_eq!(map.remove(&path), model.remove(&path)),
                3 => {
                    *map.or_default(&path) += 1;
                    *model.entry(path).or_default() += 1;
                }
                4 if step % 64 == 0 => {
                    map.retain(|_, value| *value % 3 > 0);
                    model.retain(|_, value| *value % 3 > 0);
                }
                _ => map.shrink(),
            }
            if let Some(value) = map.get_mut(&path_of(step)) {
                *value += 1;
                *model.entry(path_of(step)).or_default() += 1;
            }
            assert!(map.iter().eq(model.iter()), "step {step}");
        }
    }

    fn path_of(step: u32) -> RelativePath {
        Path::new(&(step % 40).to_string()).into()
    }
}
