//! Single rows and words of the screen, in 80 columns and 24 rows.

use super::tests::{COLOURS, lines, scene};
use crate::api::wire;
use crate::cli::top::keys::TopKey;
use crate::cli::top::model::{News, TopModel};
use crate::cli::top::samples::{after, model, now};
use crate::cli::top::theme::TopTheme;
use crate::cli::top::ui::TopUi;

fn shown(model: &TopModel, ui: &TopUi) -> String {
    lines(&scene(model, ui, COLOURS), 80, 24)
}

/// The sample with other limits.
fn with_quota(change: impl FnOnce(&mut wire::Quota)) -> String {
    let mut model = model();
    change(model.quota.as_mut().unwrap());
    shown(&model, &TopUi::default())
}

fn line(frame: &str, begin: &str) -> String {
    let found = frame.lines().find(|line| line.starts_with(begin));
    found
        .unwrap_or_else(|| panic!("no {begin:?} in\n{frame}"))
        .to_owned()
}

#[test]
fn a_small_lead_that_runs_out_is_ahead_and_not_on_track() {
    let frame = with_quota(|quota| {
        quota.windows[1].projected_exhaustion_at = Some(after(100_000));
        quota.windows[1].pace.delta = Some(0.17);
    });
    let row = line(&frame, " claude/max-1 wk");
    assert!(row.contains(" ahead +17% "), "{frame}");
    assert!(!frame.contains("runs out"), "{frame}");
}

#[test]
fn a_refused_row_is_as_old_as_its_refusal() {
    let frame = with_quota(|quota| {
        let refused = &mut quota.windows[2];
        refused.utilization = Some(0.4);
        refused.utilization_at = Some(after(-3_000));
        refused.source = "statusline".to_owned();
        quota.limit_events.push(wire::LimitEvent {
            at: after(-200),
            provider: refused.provider.clone(),
            account: refused.account.clone(),
            window: refused.window.clone(),
            source: "api_error".to_owned(),
            ..wire::LimitEvent::default()
        });
    });
    let row = line(&frame, " claude/max-2 5h");
    assert!(row.ends_with("   3m lim"), "{frame}");
}

#[test]
fn a_share_below_one_is_not_a_hundred() {
    let frame = with_quota(|quota| quota.windows[0].utilization = Some(0.999));
    assert!(line(&frame, " claude/max-1 5h").contains(" 99%! "), "{frame}");
}

#[test]
fn trouble_is_first_where_not_all_rows_fit_and_the_accounts_have_half_the_screen() {
    let mut model = model();
    let quota = model.quota.as_mut().unwrap();
    // Calm accounts before those in trouble, in the order of the configuration.
    for number in 0..6 {
        let mut account = quota.accounts[0].clone();
        account.account = format!("calm{number}");
        let mut window = quota.windows[1].clone();
        window.account.clone_from(&account.account);
        quota.accounts.insert(0, account);
        quota.windows.push(window);
    }
    let row = model.runs.values().next().unwrap().clone();
    for number in 0..30 {
        let mut run = row.clone();
        run.row.id = format!("run-{number}");
        model.runs.insert(run.row.id.clone(), run);
    }
    let mut ui = TopUi::default();
    let frame = shown(&model, &ui);
    let rows: Vec<&str> = frame.lines().skip(2).take(11).collect();
    for (row, begin) in rows.iter().zip([
        " claude/max-2 5h     REFUSED",
        " claude/max-2 wk     EXHAUSTED",
        " codex/plus   budget BLOCKED",
        " codex/plus   wk ",
        " claude/max-1 5h ",
        " claude/calm5",
    ]) {
        assert!(row.starts_with(begin), "{begin}: {frame}");
    }
    assert_eq!(rows[10], " … 5 more", "{frame}");
    assert!(frame.contains("… 1 to 3 of 34 runs"), "{frame}");
    // Who moves through them has the order of the configuration.
    ui.key(TopKey::BackTab, &model);
    let frame = shown(&model, &ui);
    assert!(
        frame.lines().nth(2).unwrap().starts_with(">claude/calm5"),
        "{frame}"
    );
    let small = lines(&scene(&model, &TopUi::default(), COLOURS), 36, 4);
    assert!(
        small.lines().nth(1).unwrap().starts_with("max-2 5h REFUSED"),
        "{small}"
    );
}

#[test]
fn the_first_line_marks_what_is_stale_and_has_one_length() {
    let stale = with_quota(|quota| "stale".clone_into(&mut quota.may_start.candidates[0].freshness));
    assert!(stale.contains("claude/team (92%~ left)"), "{stale}");
    let stale = with_quota(|quota| {
        quota.may_start.candidates[0].binding_window = Some("five_hour".to_owned());
    });
    assert!(stale.contains("claude/team (92%~ left)"), "{stale}");
    let wait = |sentence: &str, seconds: i64| {
        let frame = with_quota(|quota| {
            quota.may_start = wire::MayStart {
                decision: "wait".to_owned(),
                retry_at: Some(after(seconds)),
                sentence: sentence.to_owned(),
                ..wire::MayStart::default()
            };
        });
        frame.lines().next().unwrap().to_owned()
    };
    let first = wait(
        "wait 9 min for claude/max-1; claude/max-1 is blocked: used up",
        520,
    );
    assert!(
        first.starts_with("tokentail  may start: wait 8m, until 10:50, for claude/max-1:"),
        "{first}"
    );
    let first = wait("wait 1 d 2 h for claude/max-1; used up", 94_000);
    assert!(
        first.contains(" wait 1d02h, until Tue 12:48, for claude"),
        "{first}"
    );
}

#[test]
fn an_event_has_the_time_of_its_end_and_the_day_of_another_day() {
    let mut model = model();
    let news = |at, text: &str| News {
        at,
        kind: "account",
        text: text.to_owned(),
        until: Some(now() + 780_000),
        ..News::default()
    };
    model.news = [
        news(now(), "a is blocked"),
        news(now() - 86_400_000, "b is blocked"),
    ]
    .into();
    let frame = shown(&model, &TopUi::default());
    assert!(
        frame.contains(" 10:42:07  account   a is blocked, until 10:55"),
        "{frame}"
    );
    assert!(
        frame.contains(" Sun 10:42 account   b is blocked, until 10:55"),
        "{frame}"
    );
}

#[test]
fn a_filter_that_finds_nothing_says_which_models_are_not_known() {
    let model = model();
    let mut ui = TopUi::default();
    for letter in "/sonnet".chars() {
        ui.key(TopKey::Char(letter), &model);
    }
    let frame = shown(&model, &ui);
    assert!(
        frame.contains("no run contains the filter; Esc removes it; the model of 3 runs is unknown"),
        "{frame}"
    );
}

#[test]
fn the_order_has_a_mark_before_any_key_and_after_it() {
    let model = model();
    let mut ui = TopUi::default();
    assert!(
        shown(&model, &ui).contains("\n run ▾latest "),
        "{}",
        shown(&model, &ui)
    );
    ui.key(TopKey::Char('a'), &model);
    assert!(
        shown(&model, &ui).contains("\n run ▴latest "),
        "{}",
        shown(&model, &ui)
    );
    ui.key(TopKey::Char('t'), &model);
    assert!(shown(&model, &ui).contains(" ▾total "), "{}", shown(&model, &ui));
}

#[test]
fn the_help_explains_every_sign_within_eighty_columns() {
    let model = model();
    let mut ui = TopUi::default();
    ui.key(TopKey::Char('?'), &model);
    let whole = lines(&scene(&model, &ui, COLOURS), 200, 70);
    for sign in [
        "hot",
        "ahead",
        "on track",
        "chill",
        "mark",
        "own",
        "lim",
        "▾ ▴",
        "- ",
        "48%~",
        "… more",
        "unknown, ?",
    ] {
        assert!(
            whole.lines().any(|line| line.starts_with(&format!("  {sign}"))),
            "{sign}: {whole}"
        );
    }
    for line in whole.lines().skip(1) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let ascii = TopTheme {
        is_ascii: true,
        ..COLOURS
    };
    assert!(lines(&scene(&model, &ui, ascii), 200, 70).contains("\n  v ^ "));
}
