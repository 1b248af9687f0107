//! Frames of the sample at several sizes, against files; any size and any names.

use std::path::Path;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use super::{TopScene, plain_lines, printed_height, view};
use crate::api::wire;
use crate::cli::top::keys::TopKey;
use crate::cli::top::model::{Details, Link, News, TopModel};
use crate::cli::top::samples::{model, now};
use crate::cli::top::theme::TopTheme;
use crate::cli::top::ui::{Opened, TopPane, TopTable, TopUi};

/// Set to any value, the frames are written instead of compared: look at the difference afterwards.
const WRITE: &str = "TOKENTAIL_WRITE_FRAMES";
pub(super) const COLOURS: TopTheme = TopTheme {
    is_ascii: false,
    has_colours: true,
};

static ZONE: TimeZone = TimeZone::UTC;

pub(super) fn scene<'s>(model: &'s TopModel, ui: &'s TopUi, theme: TopTheme) -> TopScene<'s> {
    TopScene {
        model,
        ui,
        theme,
        zone: &ZONE,
        is_printed: false,
    }
}

fn drawn(scene: &TopScene<'_>, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| view(scene, frame.area(), frame.buffer_mut()))
        .unwrap();
    terminal.backend().buffer().clone()
}

pub(super) fn lines(scene: &TopScene<'_>, width: u16, height: u16) -> String {
    plain_lines(&drawn(scene, width, height)).join("\n") + "\n"
}

/// Compares with a file of `frames`.
fn assert_frame(name: &str, shown: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/cli/top/view/frames")
        .join(name);
    #[expect(clippy::disallowed_methods, reason = "a switch of this test alone")]
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, shown).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        expected, shown,
        "{name} is other than drawn; with {WRITE}=1 it is written anew:\n{shown}"
    );
}

#[test]
fn frames_are_as_in_the_files() {
    let (model, ui) = (model(), TopUi::default());
    for (width, height) in [(80, 24), (120, 40), (160, 50), (40, 10), (20, 5), (60, 16)] {
        let frame = lines(&scene(&model, &ui, COLOURS), width, height);
        assert_frame(&format!("{width}x{height}.txt"), &frame);
    }
    let ascii = TopTheme {
        is_ascii: true,
        has_colours: false,
    };
    let frame = lines(&scene(&model, &ui, ascii), 80, 24);
    assert!(frame.is_ascii(), "{frame}");
    assert_frame("80x24-ascii.txt", &frame);
    let printed = TopScene {
        is_printed: true,
        ..scene(&model, &ui, COLOURS)
    };
    let height = printed_height(&printed);
    assert_frame("printed.txt", &lines(&printed, 100, height));
}

#[test]
fn frames_of_what_is_open_are_as_in_the_files() {
    let mut model = model();
    let mut ui = TopUi::default();
    ui.key(TopKey::Char('?'), &model);
    assert_frame("help.txt", &lines(&scene(&model, &ui, COLOURS), 80, 24));
    ui.has_help = false;
    ui.table = TopTable::Models;
    assert_frame("models.txt", &lines(&scene(&model, &ui, COLOURS), 80, 24));
    ui.opened = Some(Opened::Run("refactor-billing".to_owned()));
    let detail = wire::RunDetail {
        by_model: [("claude-opus-5".to_owned(), wire::PricedTotals::default())].into(),
        ..wire::RunDetail::default()
    };
    model.details = Some(Details::Run {
        id: "refactor-billing".to_owned(),
        run: Box::new(detail),
        sessions: Vec::new(),
        files: Box::new(wire::RunFiles {
            run: "refactor-billing".to_owned(),
            total: 1,
            files: vec![wire::RunFile {
                path: "mount/projects/p/s.jsonl".to_owned(),
                bytes_read: 48_211,
            }],
        }),
    });
    assert_frame("run.txt", &lines(&scene(&model, &ui, COLOURS), 80, 24));
    let (provider, account, window) = ("claude".to_owned(), "max-1".to_owned(), "five_hour".to_owned());
    ui.opened = Some(Opened::Account((
        provider.clone(),
        account.clone(),
        window.clone(),
    )));
    let point = |minutes: i64, share: f64| wire::HistoryPoint {
        at: crate::cli::top::samples::after(-minutes * 60),
        utilization: Some(share),
        ..wire::HistoryPoint::default()
    };
    model.details = Some(Details::Account {
        provider,
        account,
        window,
        points: vec![point(240, 0.1), point(200, 0.25), point(60, 0.6), point(5, 0.77)],
    });
    assert_frame("account.txt", &lines(&scene(&model, &ui, COLOURS), 80, 24));
}

#[test]
fn what_fired_before_the_start_is_below_a_line_that_says_so() {
    let mut model = model();
    let ui = TopUi::default();
    let before = News {
        at: now() - 3 * crate::model::HOUR_MS,
        kind: "window",
        text: "claude/max-2 five_hour  refused by the provider".to_owned(),
        is_before: true,
        ..News::default()
    };
    model.news.push_back(before);
    let rows = |model: &TopModel| -> Vec<String> {
        let frame = lines(&scene(model, &ui, COLOURS), 80, 40);
        frame.lines().skip(35).map(str::to_owned).collect()
    };
    let both = rows(&model);
    assert!(both[0].contains("75 % reached"), "{both:#?}");
    assert_eq!(both[1], " before the start of this screen:", "{both:#?}");
    assert!(
        both[2].starts_with(" 07:42     window    claude/max-2"),
        "{both:#?}"
    );
    model.news.pop_front();
    let only = rows(&model);
    assert_eq!(
        only[0], " no event since the start of this screen; before:",
        "{only:#?}"
    );
    assert!(only[1].starts_with(" 07:42     window"), "{only:#?}");
    model.news.clear();
    assert_eq!(rows(&model)[0], " no event since the start of this screen");
}

#[test]
fn a_lost_connection_is_named_and_its_numbers_are_dim() {
    let mut model = model();
    let ui = TopUi::default();
    model.link = Link::Lost {
        why: "no collector answers on /run/t.sock".to_owned(),
        retry_at: now() + 2_500,
    };
    let scene = scene(&model, &ui, COLOURS);
    let buffer = drawn(&scene, 80, 24);
    let frame = plain_lines(&buffer).join("\n");
    assert!(frame.contains("reconnecting 3 s"), "{frame}");
    assert!(
        frame.contains("the last known numbers; no collector answers"),
        "{frame}"
    );
    assert!(!frame.contains("  ok  "), "{frame}");
    let dim = ratatui::style::Modifier::DIM;
    for y in 2..23 {
        assert!(buffer[(5, y)].modifier.contains(dim), "row {y}: {frame}");
    }
    assert!(lines(&scene, 30, 5).starts_with("away 2s "));
}

#[test]
fn a_request_without_an_answer_is_named() {
    let (mut model, ui) = (model(), TopUi::default());
    model.trouble = Some("the collector did not answer /v1/runs within 5 s".to_owned());
    let frame = lines(&scene(&model, &ui, COLOURS), 80, 24);
    assert!(frame.contains("did not answer /v1/runs within 5 s"), "{frame}");
}

#[test]
fn states_differ_without_colours_and_nothing_is_coloured_then() {
    let (model, ui) = (model(), TopUi::default());
    let plain = TopTheme {
        is_ascii: false,
        has_colours: false,
    };
    let buffer = drawn(&scene(&model, &ui, plain), 100, 40);
    let frame = plain_lines(&buffer).join("\n");
    for word in [
        "REFUSED",
        "EXHAUSTED",
        "100%!",
        "8%~",
        "expired",
        "unknown",
        "BLOCKED",
        "97%!",
    ] {
        assert!(frame.contains(word), "{word}: {frame}");
    }
    let reset = ratatui::style::Color::Reset;
    assert!(
        buffer
            .content
            .iter()
            .all(|cell| cell.fg == reset && cell.bg == reset)
    );
}

#[test]
fn a_paused_screen_and_a_filter_are_named() {
    let model = model();
    let mut ui = TopUi::default();
    ui.key(TopKey::Char('p'), &model);
    for letter in "/none".chars() {
        ui.key(TopKey::Char(letter), &model);
    }
    let writing = lines(&scene(&model, &ui, COLOURS), 80, 24);
    assert!(writing.contains(" PAUSED "), "{writing}");
    assert!(writing.contains("/none"), "{writing}");
    ui.key(TopKey::Enter, &model);
    let kept = lines(&scene(&model, &ui, COLOURS), 80, 24);
    assert!(kept.contains("filter: none"), "{kept}");
    assert!(kept.contains("no run contains the filter"), "{kept}");
}

/// Names of any letters, also those that steer a terminal, turn the direction, or have no width or two.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[\u{1b}\u{7}\u{202e}\u{200d}\u{fe0f}\u{300}\u{1f469}\u{1f3fb}日a-c/\\[2J]{0,40}",
        "[a-z]{0,300}",
    ]
}

/// The sample with other names and figures.
fn random_model() -> impl Strategy<Value = TopModel> {
    let names = proptest::collection::vec(hostile(), 6);
    (names, any::<u64>(), any::<f64>(), 0_usize..30).prop_map(|(names, number, share, copies)| {
        let mut model = model();
        let quota = model.quota.as_mut().unwrap();
        for window in &mut quota.windows {
            window.window.clone_from(&names[0]);
            window.account.clone_from(&names[1]);
            window.utilization = Some(share);
        }
        for account in &mut quota.accounts {
            account.account.clone_from(&names[1]);
            account.sentence.clone_from(&names[2]);
        }
        quota.may_start.sentence.clone_from(&names[2]);
        quota.may_start.chosen = None;
        let rows: Vec<_> = model.runs.values().cloned().collect();
        for (index, mut run) in rows.into_iter().cycle().take(copies).enumerate() {
            run.row.id = format!("{}{index}", names[3]);
            run.row.labels.insert(names[4].clone(), names[5].clone());
            run.model = Some(names[4].clone());
            run.row.totals.totals.total_tokens = number;
            run.row.totals.totals.cache_read_input_tokens = number;
            run.row.lag_bytes = number;
            run.row.cost.estimated_cost_usd = Some(share);
            model.runs.insert(run.row.id.clone(), run);
        }
        for news in &mut model.news {
            news.text.clone_from(&names[5]);
        }
        model
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// No size and no name breaks a line, leaves the area, or reaches the terminal as a control character.
    #[test]
    fn any_model_fits_any_size(
        model in random_model(),
        (width, height) in (1_u16..=200, 1_u16..=60),
        (choice, is_ascii, skipped) in (0_u8..9, any::<bool>(), 0_usize..50),
    ) {
        let mut ui = TopUi { lines_skipped: skipped, news_skipped: skipped, ..TopUi::default() };
        let first = model.runs.keys().next().cloned().unwrap_or_default();
        let window = &model.quota.as_ref().unwrap().windows[0];
        let key = (window.provider.clone(), window.account.clone(), window.window.clone());
        match choice {
            0 => ui.has_help = true,
            1 => ui.opened = Some(Opened::Run(first)),
            2 => ui.opened = Some(Opened::Account(key)),
            3 => ui.table = TopTable::Models,
            4 => ui.table = TopTable::Routes,
            5 => ui.pane = TopPane::Accounts,
            6 => ui.pane = TopPane::News,
            7 => ui.is_filtering = true,
            _ => {}
        }
        let theme = TopTheme { is_ascii, has_colours: true };
        // A border around the area shows what is written outside of it.
        let whole = Rect::new(0, 0, width + 2, height + 2);
        let mut buffer = Buffer::filled(whole, ratatui::buffer::Cell::new("#"));
        let area = Rect::new(1, 1, width, height);
        let inside = Buffer::empty(area);
        buffer.merge(&inside);
        view(&scene(&model, &ui, theme), area, &mut buffer);
        for x in 0..width + 2 {
            prop_assert_eq!(buffer[(x, 0)].symbol(), "#");
            prop_assert_eq!(buffer[(x, height + 1)].symbol(), "#");
        }
        for y in 0..height + 2 {
            prop_assert_eq!(buffer[(0, y)].symbol(), "#");
            prop_assert_eq!(buffer[(width + 1, y)].symbol(), "#");
        }
        let buffer = drawn(&scene(&model, &ui, theme), width, height);
        for cell in &buffer.content {
            prop_assert!(!cell.symbol().chars().any(char::is_control), "{:?}", cell.symbol());
        }
        for line in plain_lines(&buffer) {
            prop_assert!(line.width() <= usize::from(width), "{line:?} in {width}");
            prop_assert!(!is_ascii || line.is_ascii(), "{line:?}");
        }
    }
}

#[test]
fn every_size_is_drawn() {
    let (model, ui) = (model(), TopUi::default());
    for width in 1..=200 {
        for height in [1, 2, 3, 5, 9, 10, 11, 12, 13, 14, 15, 24, 60] {
            drawn(&scene(&model, &ui, COLOURS), width, height);
        }
    }
}
