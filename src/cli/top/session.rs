//! The session: moves events, keys, signals and answers, and draws at most ten times a second.

use std::future::Future;
use std::path::Path;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use super::event::{TopAnswer, TopEvent};
use super::feed::Feed;
use super::fold::fold;
use super::keys::{KeyEffect, TopKey};
use super::model::TopModel;
use super::questions::{self, QuestionContext, QuestionSchedule, TopQuestion};
use super::terminal::{self, Keyboard, KeyboardInput, TerminalScreen};
use super::theme::TopTheme;
use super::ui::TopUi;
use super::view::{SIDE_FROM, TopScene};
use crate::cli::args::TopArgs;
use crate::cli::client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::log;
use crate::clock::Clock;
use crate::signals::{ScreenSignal, ScreenSignals};
use crate::stderr;

/// Shortest time between two frames.
const FRAME_EVERY: Duration = Duration::from_millis(100);
/// Time between two frames without any event: ages and times to resets change.
const TICK: Duration = Duration::from_secs(1);
/// Default of `--interval`.
const INTERVAL: Duration = Duration::from_secs(1);

/// A request under way.
type PendingAnswer<'s> = Pin<Box<dyn Future<Output = TopEvent> + 's>>;

/// The state of the session.
struct TopSession<'s> {
    socket: &'s Path,
    zone: &'s TimeZone,
    theme: TopTheme,
    clock: Clock,
    model: TopModel,
    ui: TopUi,
    schedule: QuestionSchedule,
    asking: Option<(TopQuestion, Instant, PendingAnswer<'s>)>,
    drawn: Option<Instant>,
    is_changed: bool,
}

/// What ends a session.
enum SessionEnd {
    Asked,
    Signal(u8),
    /// The terminal is gone.
    Closed,
}

/// Shows the screen until a person or a signal ends it.
///
/// # Errors
/// No collector answers at first, or the terminal cannot be used.
pub fn run(args: &TopArgs, socket: &Path, ui: TopUi, zone: &TimeZone) -> Result<ExitCode, Failure> {
    let runtime = client::runtime(socket)?;
    let mut session = TopSession {
        socket,
        zone,
        theme: terminal::theme(args.ascii),
        clock: Clock::SYSTEM,
        model: TopModel::default(),
        ui,
        schedule: QuestionSchedule::new(args.interval.unwrap_or(INTERVAL)),
        asking: None,
        drawn: None,
        is_changed: true,
    };
    let end = runtime.block_on(async {
        // Without a collector there is nothing to show: the failure is said before the terminal is taken over.
        let context = session.context();
        let quota = questions::answer(socket, &TopQuestion::Quota, &context).await?;
        session.fold(TopEvent::Answer(Box::new(quota)));
        if let Some(name) = &args.account
            && session.ui.scope.account(session.model.quota.as_ref()).is_none()
        {
            let message = format!("no account {name}; `tokentail quota` lists all accounts");
            return Err(Failure::new(Exit::NoInput, message));
        }
        session.show().await
    })?;
    Ok(match end {
        SessionEnd::Asked | SessionEnd::Closed => Exit::Ok.into(),
        SessionEnd::Signal(code) => ExitCode::from(code),
    })
}

impl TopSession<'_> {
    async fn show(&mut self) -> Result<SessionEnd, Failure> {
        let unusable = |error: std::io::Error| {
            Failure::new(
                Exit::Io,
                format!("cannot use the terminal: {error}; `tokentail top --once` needs none"),
            )
        };
        let say = |line: &str| stderr::print((log::failure(line) + "\n").as_bytes());
        let mut signals =
            ScreenSignals::install(say).map_err(|error| Failure::new(Exit::Io, error.to_string()))?;
        let keyboard = Keyboard::new().map_err(unusable)?;
        let mut screen = TerminalScreen::enter().map_err(unusable)?;
        let feed = Feed::default();
        let mut following = pin!(feed.follow(self.socket, self.clock));
        loop {
            self.fold(TopEvent::Tick(self.clock.now()));
            self.ask(&screen);
            if self.is_time_to_draw() && self.draw(&mut screen).is_err() {
                return Ok(SessionEnd::Closed);
            }
            let wake = self.wake_at();
            tokio::select! {
                biased;
                signal = signals.next() => match signal {
                    ScreenSignal::End(code) => return Ok(SessionEnd::Signal(code)),
                    ScreenSignal::Suspend => screen.suspend().map_err(unusable)?,
                    ScreenSignal::Resume => screen.take_over().map_err(unusable)?,
                    ScreenSignal::Resize => {
                        let keys = Keyboard::pending().unwrap_or_default();
                        if keys.into_iter().any(|key| self.key(key)) {
                            return Ok(SessionEnd::Asked);
                        }
                    }
                },
                input = keyboard.next() => match input {
                    Ok(KeyboardInput::Keys(keys)) => {
                        if keys.into_iter().any(|key| self.key(key)) {
                            return Ok(SessionEnd::Asked);
                        }
                    }
                    Ok(KeyboardInput::Closed) | Err(_) => return Ok(SessionEnd::Closed),
                },
                event = answered(&mut self.asking) => self.take_answer(event),
                () = feed.arrived() => {
                    for event in feed.take() {
                        self.schedule.heed(&event);
                        self.fold(event);
                    }
                }
                never = &mut following => match never {},
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            self.is_changed = true;
        }
    }

    fn fold(&mut self, event: TopEvent) {
        let model = std::mem::take(&mut self.model);
        self.model = fold(model, event, &self.ui.scope);
        if let Some(paused) = &mut self.ui.paused {
            // A lost connection is no number that stands still.
            paused.link.clone_from(&self.model.link);
            paused.trouble.clone_from(&self.model.trouble);
        }
    }

    fn context(&self) -> QuestionContext {
        QuestionContext::of(&self.model, &self.ui, self.zone.iana_name().map(str::to_owned))
    }

    /// Sends the next question that is due, while the collector answers.
    fn ask(&mut self, screen: &TerminalScreen) {
        if self.asking.is_some() || self.model.is_outdated() {
            return;
        }
        let has_side = screen.size().width >= SIDE_FROM;
        let now = Instant::now();
        if let Some(question) = self.schedule.next(&self.ui, has_side, now) {
            let (socket, context) = (self.socket, self.context());
            let asked = question.clone();
            let asking = Box::pin(async move { questions::ask(socket, &asked, &context).await });
            self.asking = Some((question, now, asking));
        }
    }

    fn take_answer(&mut self, event: TopEvent) {
        if let Some((question, began, _)) = self.asking.take() {
            let now = Instant::now();
            let failed = |answer: &TopAnswer| matches!(answer, TopAnswer::Failed(_));
            let is_answered = !matches!(&event, TopEvent::Answer(answer) if failed(answer));
            self.schedule.took(&question, is_answered, now - began, now);
        }
        self.fold(event);
    }

    /// True if the key ends the session.
    fn key(&mut self, key: TopKey) -> bool {
        match self.ui.key(key, &self.model) {
            KeyEffect::Quit => return true,
            KeyEffect::Suspend => terminal::ask_to_suspend(),
            KeyEffect::Reload => self.schedule.restart(),
            KeyEffect::Ask => self.schedule.choose(&self.ui),
            KeyEffect::Nothing | KeyEffect::Draw => {}
        }
        false
    }

    fn is_time_to_draw(&self) -> bool {
        self.is_changed && self.drawn.is_none_or(|drawn| drawn.elapsed() >= FRAME_EVERY)
    }

    fn draw(&mut self, screen: &mut TerminalScreen) -> std::io::Result<()> {
        self.drawn = Some(Instant::now());
        self.is_changed = false;
        screen.draw(&TopScene {
            model: self.ui.shown(&self.model),
            ui: &self.ui,
            theme: self.theme,
            zone: self.zone,
            is_printed: false,
        })
    }

    /// The next time at which something is to do without an event.
    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let frame = self.drawn.unwrap_or(now);
        let frame = if self.is_changed {
            frame + FRAME_EVERY
        } else {
            frame + TICK
        };
        let question = self
            .schedule
            .next_at()
            .filter(|_| self.asking.is_none() && !self.model.is_outdated());
        question.map_or(frame, |at| at.min(frame))
    }
}

/// The answer to the request under way; waits for ever without one.
async fn answered(asking: &mut Option<(TopQuestion, Instant, PendingAnswer<'_>)>) -> TopEvent {
    match asking {
        Some((_, _, asking)) => asking.await,
        None => std::future::pending().await,
    }
}
