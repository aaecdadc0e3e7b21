//! What the wallet asks whoever sits in front of it.

use anyhow::{Context as _, bail};
use console::Term;
use eroam::charging::provider::{FieldKind, RegistrationForm};
use eroam_domain::ids::ContractId;
use eroam_ssi::custody::Passphrase;
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use zeroize::Zeroizing;

/// A passphrase from a file, the environment or the terminal, in this order; a new one is typed twice. `option` names the
/// file.
pub(super) fn read_passphrase(
    question: &str,
    (file, variable): (Option<&Path>, &str),
    option: &str,
    is_new: bool,
) -> anyhow::Result<Passphrase> {
    let text = match (file, std::env::var(variable)) {
        (Some(file), _) => {
            let read = std::fs::read_to_string(file).map(Zeroizing::new);
            let read =
                read.with_context(|| format!("the passphrase cannot be read from {}", file.display()))?;
            let line = read.strip_suffix('\n').unwrap_or(&read);
            Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned())
        }
        (None, Ok(text)) => Zeroizing::new(text),
        (None, Err(_)) if std::io::stdin().is_terminal() => {
            let asked = ask_secretly(question)?;
            if is_new && ask_secretly("the same again: ")? != asked {
                bail!("these are two different passphrases");
            }
            asked
        }
        (None, Err(_)) => {
            bail!(
                "there is no terminal to ask for the passphrase: name a file with {option}, or set {variable}"
            )
        }
    };
    Passphrase::new(text).context("this passphrase cannot be used")
}

fn ask_secretly(question: &str) -> anyhow::Result<Zeroizing<String>> {
    let terminal = Term::stderr();
    terminal.write_str(question)?;
    Ok(Zeroizing::new(terminal.read_secure_line()?))
}

pub(super) fn ask(question: &str) -> anyhow::Result<String> {
    eprint!("{question}");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

pub(super) fn ask_whether(question: &str) -> anyhow::Result<bool> {
    let answer = ask(&format!("{question} [y/N] "))?;
    Ok(["y", "yes"].contains(&answer.to_lowercase().as_str()))
}

pub(super) fn ask_for_missing(
    form: &RegistrationForm,
    fields: &mut BTreeMap<String, String>,
) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        return Ok(());
    }
    for field in &form.fields {
        if fields.contains_key(&field.name) {
            continue;
        }
        let hint = match field.kind {
            FieldKind::Tier => " (standard, gold, platinum or diamond)",
            FieldKind::Zones => " (grid zones with commas, * for everywhere)",
            FieldKind::Text | FieldKind::Email | FieldKind::Iban => "",
        };
        let may_be_empty = if field.required { "" } else { " [may be empty]" };
        let answer = ask(&format!("{}{hint}{may_be_empty}: ", field.label))?;
        if !answer.is_empty() {
            fields.insert(field.name.clone(), answer);
        }
    }
    Ok(())
}

/// The contract to use: the one that is named, or the only one, or the one that is chosen.
pub(super) fn chosen(contracts: Vec<ContractId>, named: Option<ContractId>) -> anyhow::Result<ContractId> {
    let listed: Vec<String> = contracts.iter().map(ToString::to_string).collect();
    match (named, contracts.as_slice()) {
        (_, []) => bail!("your wallet has no contract: make one with `eroam wallet enrol`"),
        (Some(named), _) if contracts.contains(&named) => Ok(named),
        (Some(named), _) => bail!("your wallet has no contract {named}, but {}", listed.join(", ")),
        (None, [only]) => Ok(*only),
        (None, _) if std::io::stdin().is_terminal() => numbered(&contracts, &listed).copied(),
        (None, _) => {
            bail!("your wallet has several contracts ({}): name one with --contract", listed.join(", "))
        }
    }
}

/// The one of several contracts that is chosen by its number in a list.
pub(super) fn numbered<'a, T>(contracts: &'a [T], listed: &[String]) -> anyhow::Result<&'a T> {
    for (number, contract) in listed.iter().enumerate() {
        eprintln!("{}  {contract}", number + 1);
    }
    let answer: usize = ask("with which contract? ")?.parse().context("that is no number of the list")?;
    let place = answer.checked_sub(1).context("that is no number of the list")?;
    contracts.get(place).context("that is no number of the list")
}
