//! `thetis gateway`: API keys.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use theta_types::format_coins;

use super::{Place, running::ask};
use crate::{
    control::types::{CreateKey, CreatedKey, KeyRow},
    settings::Tfuel,
};

/// Commands on the gateway.
#[derive(Debug, Subcommand)]
pub enum GatewayCommand {
    /// Make, list and revoke API keys
    #[command(subcommand)]
    Key(KeyCommand),
}

/// Commands on API keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key; its secret is shown this once
    Create(Create),
    /// List the keys and what they spent
    List,
    /// Make a key useless from now on
    Revoke {
        /// Its id, srvacc_…
        id: String,
    },
}

/// Makes a key.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thetis gateway key create phone-app --daily 5
  OPENAI_API_KEY=… OPENAI_BASE_URL=http://127.0.0.1:8088/v1 python app.py")]
pub struct Create {
    /// What to call it
    #[arg(default_value = "")]
    name: String,
    /// The most it may spend in a day
    #[arg(long, value_name = "TFUEL")]
    daily: Option<Tfuel>,
    /// The most it may spend at all
    #[arg(long, value_name = "TFUEL")]
    total: Option<Tfuel>,
}

impl GatewayCommand {
    /// Does what was asked.
    pub fn run(self, place: &Place) -> anyhow::Result<()> {
        let GatewayCommand::Key(command) = self;
        match command {
            KeyCommand::Create(create) => create.run(place),
            KeyCommand::List => {
                let keys: Vec<KeyRow> =
                    ask(place, async |client| Ok(client.get("/api/gateway/keys").await?))?;
                place.output().print(&keys, |keys| match keys.as_slice() {
                    [] => "There are no keys yet: make one with `thetis gateway key create`.".into(),
                    keys => keys.iter().map(key_text).collect(),
                })
            }
            KeyCommand::Revoke { id } => {
                let path = format!("/api/gateway/keys/{id}/revoke");
                ask(place, async |client| Ok(client.post::<Value>(&path, &json!({})).await?))?;
                place.output().print(&json!({ "revoked": id }), |_| format!("{id} is revoked."))
            }
        }
    }
}

impl Create {
    fn run(self, place: &Place) -> anyhow::Result<()> {
        let request = CreateKey {
            name: self.name,
            daily_limit: self.daily.map(|limit| limit.wei().clone()),
            total_limit: self.total.map(|limit| limit.wei().clone()),
        };
        let created: CreatedKey =
            ask(place, async |client| Ok(client.post("/api/gateway/keys", &request).await?))?;
        place.output().print(&created, |created| {
            format!(
                "Keep this; it is not shown again.\n\n  Bearer key       {}\n  x-tva-sa-id      {}\n  x-tva-sa-secret  {}",
                created.key, created.id, created.secret
            )
        })
    }
}

fn key_text(key: &KeyRow) -> String {
    let limit = |limit: &Option<theta_types::Wei>, span| match limit {
        Some(limit) => format!(", at most {} {span}", format_coins(limit)),
        None => String::new(),
    };
    format!(
        "{}  {}{}: {} TFUEL today, {} in all{}{}\n",
        key.id,
        key.name,
        if key.revoked.is_some() { " (revoked)" } else { "" },
        format_coins(&key.spent_today),
        format_coins(&key.spent),
        limit(&key.daily_limit, "a day"),
        limit(&key.total_limit, "in all")
    )
}
