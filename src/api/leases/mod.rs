//! The routes of leases: places that are reserved for runs.

mod acquire;
mod item;
mod view;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::state::ApiState;

pub use item::named_lease;
pub use view::{LeaseView, sweep};

/// The routes of this folder.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default()
        .routes(routes!(acquire::post_leases, item::get_leases))
        .routes(routes!(item::get_lease, item::put_lease, item::delete_lease))
        .routes(routes!(view::get_capacity))
}
