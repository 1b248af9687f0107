//! The operator's prices: a file of its own, with the same care for mistakes as the configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use jiff::civil::Date;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, MapAccess, Unexpected, Visitor};

use super::file::FileLayer;
use super::mistakes::{MistakeText, Mistakes};
use crate::model::PromptSize;
use crate::prices::operator::{OperatorFactor, OperatorModel, OperatorPrices, Pattern, key};
use crate::prices::{Rates, SIZES};

/// The largest price, in dollars per million tokens.
const USD_MAX: f64 = 4_000.0;
/// The largest multiplier.
const FACTOR_MAX: f64 = 1_000.0;
/// How far a number may be from a multiple of its smallest part.
const PART_ERROR_MAX: f64 = 1e-3;
/// Lengths of prompts, in tokens, above which sums are kept apart.
const BOUNDS: [u32; 3] = [100_000, 200_000, 272_000];

/// The document of the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of prices")]
struct PricesFile {
    model: BTreeMap<String, ModelTable>,
    fast: BTreeMap<String, Factor>,
    us: BTreeMap<String, Factor>,
}

/// The prices of a model, in dollars per million tokens and per thousand searches.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table with the prices of a model"
)]
struct ModelTable {
    input: Option<Usd>,
    output: Option<Usd>,
    cache_read: Option<Usd>,
    cache_write_5m: Option<Usd>,
    cache_write_1h: Option<Usd>,
    web_search: Option<Usd>,
    long: Option<LongTable>,
    since: Option<FirstDay>,
}

/// The prices of long prompts; one that is left out is that of short ones.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table with the prices of long prompts"
)]
struct LongTable {
    above: Option<PromptBound>,
    input: Option<Usd>,
    output: Option<Usd>,
    cache_read: Option<Usd>,
    cache_write_5m: Option<Usd>,
    cache_write_1h: Option<Usd>,
}

/// A price in millionths of a dollar.
#[derive(Clone, Copy, Debug)]
struct Usd(u32);

/// A multiplier in thousandths.
#[derive(Clone, Copy, Debug)]
struct Factor(u32);

/// A length of prompts.
#[derive(Clone, Copy, Debug)]
struct PromptBound(u32);

/// A UTC day since 1970.
#[derive(Clone, Copy, Debug)]
struct FirstDay(u32);

/// A number with a fixed number of parts of one.
struct NumberVisitor {
    in_one: f64,
    max: f64,
    expecting: &'static str,
}

impl Visitor<'_> for NumberVisitor {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<u32, E> {
        // Larger ones are refused below in any case.
        let small =
            i32::try_from(number).map_err(|_| E::custom(format!("{number} is not {}", self.expecting)))?;
        self.visit_f64(small.into())
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked"
    )]
    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<u32, E> {
        let parts = number * self.in_one;
        if !(0.0..=self.max).contains(&number) || (parts - parts.round()).abs() > PART_ERROR_MAX {
            return Err(E::custom(format!("{number} is not {}", self.expecting)));
        }
        Ok(parts.round() as u32)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = NumberVisitor {
            in_one: 1e6,
            max: USD_MAX,
            expecting: "a price in US dollars, 0 to 4000 with at most six decimals, as in 2.5",
        };
        deserializer.deserialize_any(parts).map(Self)
    }
}

impl<'de> Deserialize<'de> for Factor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = NumberVisitor {
            in_one: 1e3,
            max: FACTOR_MAX,
            expecting: "a multiplier, 0 to 1000 with at most three decimals, as in 2.0",
        };
        deserializer.deserialize_any(parts).map(Self)
    }
}

impl<'de> Deserialize<'de> for PromptBound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = NumberVisitor {
            in_one: 1.0,
            max: f64::from(u32::MAX),
            expecting: "a number of tokens",
        };
        let bound = deserializer.deserialize_any(parts)?;
        if BOUNDS.contains(&bound) {
            return Ok(Self(bound));
        }
        Err(D::Error::custom(format!(
            "{bound} is not 100000, 200000 or 272000: sums are kept apart for prompts above these, and no others"
        )))
    }
}

/// A date of TOML, or its text.
struct DayVisitor;

impl<'de> Visitor<'de> for DayVisitor {
    type Value = FirstDay;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a date, as in 2026-11-18")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FirstDay, A::Error> {
        let date = toml::value::Datetime::deserialize(MapAccessDeserializer::new(map));
        let date = date.map_err(|_| A::Error::invalid_type(Unexpected::Map, &self))?;
        self.visit_str(&date.to_string())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<FirstDay, E> {
        let date = text.parse::<Date>().ok();
        let date = date.filter(|_| text.len() == "2026-11-18".len());
        let days = date.map(|date| date - Date::constant(1970, 1, 1));
        let days = days.and_then(|days| u32::try_from(days.get_days()).ok());
        days.map(FirstDay)
            .ok_or_else(|| E::custom(format!("{text:?} is not a date, as in 2026-11-18")))
    }
}

impl<'de> Deserialize<'de> for FirstDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DayVisitor)
    }
}

/// Reads the operator's prices.
///
/// # Errors
/// All mistakes, with line and column; of a file that cannot be read, the reason alone.
pub fn read_prices(path: &Path) -> Result<OperatorPrices, Mistakes> {
    let mut file: FileLayer<PricesFile> = FileLayer::read(path)?;
    let mut mistakes = std::mem::take(&mut file.mistakes);
    let document = std::mem::take(&mut file.partial);
    let mut prices = OperatorPrices::default();
    for (name, table) in &document.model {
        let place = format!("model.{name}");
        // What is missing in a table may be below a broken header.
        if mistakes.is_about(&place) || file.has_lost_tables {
            continue;
        }
        let mut refuse = |what: String| mistakes.push(file.error(&place, MistakeText::from(what)));
        match (pattern(name), table.sizes()) {
            (Ok(models), Ok(sizes)) => prices.models.push(OperatorModel {
                models,
                name: name.as_str().into(),
                since: table.since.map_or(0, |FirstDay(day)| day),
                sizes,
            }),
            (Err(what), _) => refuse(what),
            (_, Err(what)) => refuse(format!("`{name}`: {what}")),
        }
    }
    for (section, given, factors) in [
        ("fast", &document.fast, &mut prices.fast),
        ("us", &document.us, &mut prices.us),
    ] {
        for (name, Factor(factor)) in given {
            match pattern(name) {
                Ok(models) => factors.push(OperatorFactor {
                    models,
                    factor: *factor,
                }),
                Err(what) => {
                    let place = format!("{section}.{name}");
                    mistakes.push(file.error(&place, MistakeText::from(what)));
                }
            }
        }
    }
    if mistakes.is_empty() {
        Ok(prices)
    } else {
        Err(mistakes)
    }
}

/// A name of models; `*` at its end stands for any rest.
fn pattern(name: &str) -> Result<Pattern<Box<str>>, String> {
    let (start, is_prefix) = name
        .strip_suffix('*')
        .map_or((name, false), |start| (start, true));
    if start.contains('*') || name.is_empty() {
        return Err(format!(
            "{name:?} is not the name of a model, or its beginning with a * at the end"
        ));
    }
    let start: Box<str> = key(start).into();
    Ok(if is_prefix {
        Pattern::Prefix(start)
    } else {
        Pattern::Exactly(start)
    })
}

impl ModelTable {
    /// The rates by size of the prompt.
    fn sizes(&self) -> Result<[Rates; 4], String> {
        let Some(((Usd(input), Usd(output)), Usd(cache_read))) =
            self.input.zip(self.output).zip(self.cache_read)
        else {
            return Err("input, output and cache_read are required".to_owned());
        };
        let write_5m = self.cache_write_5m.map_or(input, |Usd(price)| price);
        let short = Rates {
            input,
            output,
            cache_read,
            write_5m,
            write_1h: self.cache_write_1h.map_or(write_5m, |Usd(price)| price),
            search: self.web_search.map(|Usd(price)| price),
        };
        let Some(long) = &self.long else {
            return Ok([short; 4]);
        };
        let Some(PromptBound(above)) = long.above else {
            return Err("long.above is required, as in long = { above = 272000, input = 4.0 }".to_owned());
        };
        let or = |price: Option<Usd>, short: u32| price.map_or(short, |Usd(price)| price);
        let write_5m = or(long.cache_write_5m, short.write_5m);
        let longer = Rates {
            input: or(long.input, input),
            output: or(long.output, output),
            cache_read: or(long.cache_read, cache_read),
            write_5m,
            write_1h: long
                .cache_write_1h
                .map_or_else(|| short.write_1h.max(write_5m), |Usd(price)| price),
            search: short.search,
        };
        let is_long = |size: PromptSize| BOUNDS.get(size as usize).is_none_or(|bound| *bound > above);
        Ok(SIZES.map(|size| if is_long(size) { longer } else { short }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<OperatorPrices, Mistakes> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("prices.toml");
        std::fs::write(&path, text).unwrap();
        read_prices(&path)
    }

    #[test]
    fn a_file_is_read() {
        let prices = read(
            "[model.\"gpt-6.2-sol\"]\ninput = 2.0\ncache_read = 0.1\ncache_write_5m = 2.5\noutput = 10\n\
             long = { above = 272000, input = 4.0, output = 15.0, cache_read = 0.2, cache_write_5m = 5.0 }\n\
             since = \"2026-11-18\"\n[model.\"our-*\"]\ninput = 1\noutput = 2\ncache_read = 0.5\ncache_write_1h = 3\n\
             web_search = 10\n[fast]\n\"claude-opus-5*\" = 2.0\n[us]\n\"x\" = 1.125\n",
        )
        .unwrap();
        let [sol, our] = &prices.models[..] else {
            panic!("{prices:?}")
        };
        let short = Rates {
            input: 2_000_000,
            output: 10_000_000,
            cache_read: 100_000,
            write_5m: 2_500_000,
            write_1h: 2_500_000,
            search: None,
        };
        let long = Rates {
            input: 4_000_000,
            output: 15_000_000,
            cache_read: 200_000,
            write_5m: 5_000_000,
            write_1h: 5_000_000,
            search: None,
        };
        assert_eq!(sol.sizes, [short, short, short, long]);
        assert_eq!(sol.models, Pattern::Exactly("gpt-6-2-sol".into()));
        // 2026-11-18.
        assert_eq!(sol.since, 20_775);
        assert_eq!(our.models, Pattern::Prefix("our-".into()));
        assert_eq!(
            (our.sizes[0].write_5m, our.sizes[3].write_1h),
            (1_000_000, 3_000_000)
        );
        assert_eq!(our.sizes[0].search, Some(10_000_000));
        assert_eq!((prices.fast[0].factor, prices.us[0].factor), (2_000, 1_125));
        assert_eq!(read("").unwrap(), OperatorPrices::default());
        let dated = "[model.m]\ninput = 1\noutput = 2\ncache_read = 0.5\nsince = 2026-11-18\n";
        assert_eq!(read(dated).unwrap().models[0].since, 20_775);
    }

    #[test]
    fn every_cut_of_a_file_is_read_or_refused() {
        const FILE: &str = "[model.\"a.b*\"]\ninput = 1.5\noutput = 2\ncache_read = 0.1\nsince = 2026-11-18\n\
                            long = { above = 200000, input = 3 }\n[us]\nm = 1.1\n[fast]\n\"\u{e9}\" = 2\n";
        for at in 0..FILE.len() {
            let cut = FILE.get(..at).unwrap_or_default();
            if let Err(mistakes) = read(cut) {
                assert!(!mistakes.is_empty(), "{cut}");
            }
            // A byte of its own everywhere.
            let start = FILE.floor_char_boundary(at);
            for other in ["*", "[", "\"", "-", "9", "\n", "."] {
                let changed = format!("{}{other}{}", &FILE[..start], &FILE[start..]);
                if let Ok(prices) = read(&changed) {
                    assert!(prices.models.len() <= 2, "{changed}");
                }
            }
        }
    }

    #[test]
    fn a_broken_header_is_one_mistake() {
        const A: &str = "[model.a]\ninput = 1\noutput = 2\ncache_read = 0.1\n";
        for (text, at) in [
            (
                "[model.m\ninput = 1\noutput = 2\ncache_read = 0.1\n".to_owned(),
                "1:",
            ),
            (
                "model.m]\ninput = 1\noutput = 2\ncache_read = 0.1\n".to_owned(),
                "1:",
            ),
            (
                format!("{A}[model.m\ninput = 1\noutput = 2\ncache_read = 0.1\n"),
                "5:",
            ),
            (
                format!("[model.m]]\ninput = 1\noutput = 2\ncache_read = 0.1\n{A}"),
                "1:",
            ),
            (
                format!("[model.\"m]\ninput = 1\noutput = 2\ncache_read = 0.1\n{A}"),
                "1:",
            ),
        ] {
            let mistakes = read(&text).unwrap_err();
            let said: Vec<String> = mistakes.list.iter().map(ToString::to_string).collect();
            assert_eq!(said.len(), 1, "{text}: {said:?}");
            assert!(said[0].contains(&format!("prices.toml:{at}")), "{text}: {said:?}");
        }
        // One of another table is said too.
        let mistakes = read("[model.m\ninput = 1\n[model.b]\ninpt = 1\n").unwrap_err();
        assert_eq!(mistakes.list.len(), 2, "{mistakes}");
    }

    #[test]
    fn mistakes_have_a_place_and_a_suggestion() {
        const MODEL: &str = "[model.m]\ninput = 1\noutput = 2\ncache_read = 0.1\n";
        for (text, expect) in [
            (
                "[model.m]\ninput = 1\noutput = 2\n",
                "1:8: `m`: input, output and cache_read are required",
            ),
            ("[model.m]\ninpt = 1\n", "2:1: `model.m.inpt`: unknown key `inpt`"),
            ("[modle.m]\ninput = 1\n", "1:2: `modle`: unknown key `modle`"),
            (
                "[model.m]\ninput = -1\n",
                "2:9: `model.m.input`: -1 is not a price in US dollars",
            ),
            (
                "[model.m]\ninput = 0.0000001\n",
                "2:9: `model.m.input`: 0.0000001 is not a price",
            ),
            (
                "[model.m]\ninput = 4000.1\n",
                "2:9: `model.m.input`: 4000.1 is not a price",
            ),
            (
                "[model.m]\ninput = \"1\"\n",
                "2:9: `model.m.input`: invalid type: string \"1\", expected a price",
            ),
            (
                "[model.m]\ninput = nan\n",
                "2:9: `model.m.input`: NaN is not a price",
            ),
            ("[fast]\nm = 1001\n", "2:5: `fast.m`: 1001 is not a multiplier"),
            ("[fast]\n\"a*b\" = 1\n", "2:1: \"a*b\" is not the name of a model"),
            (
                "[model.\"\"]\ninput = 1\n",
                "1:8: \"\" is not the name of a model",
            ),
            ("[model\n", "1:7: "),
        ] {
            let mistakes = read(text).unwrap_err();
            let said = mistakes.list[0].to_string();
            assert!(said.contains(&format!("prices.toml:{expect}")), "{text}: {said}");
        }
        for (more, expect) in [
            (
                "since = \"2026-13-01\"\n",
                "5:9: `model.m.since`: \"2026-13-01\" is not a date",
            ),
            (
                "since = 2026-11-18T00:00:00Z\n",
                "5:9: `model.m.since`: \"2026-11-18T00:00:00Z\" is not a date",
            ),
            (
                "since = 7\n",
                "5:9: `model.m.since`: invalid type: integer `7`, expected a date",
            ),
            ("long = { input = 2 }\n", "1:8: `m`: long.above is required"),
            (
                "long = { above = 128000 }\n",
                "5:18: `model.m.long.above`: 128000 is not 100000, 200000 or 272000",
            ),
        ] {
            let said = read(&format!("{MODEL}{more}")).unwrap_err().list[0].to_string();
            assert!(said.contains(&format!("prices.toml:{expect}")), "{more}: {said}");
        }
        let said = read("[model.m]\ninptu = 1\n").unwrap_err().to_string();
        assert!(said.contains("did you mean `input`?"), "{said}");
    }
}
