//! `eroam simulate --serve`: a network for drivers of other processes, so that anybody can try a wallet.

use super::print_line;
use super::told::Told;
use super::wallet::kw;
use anyhow::Context as _;
use eroam::charging::code::InvitationCode;
use eroam::charging::station::Mode;
use eroam::output_directory;
use eroam::simulate::{Listing, Served, Setup};
use eroam_domain::visit::StationClaims;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

const GENESIS: &str = "genesis.json";
const LISTING: &str = "listing.json";
const README: &str = "README.md";

pub(super) fn run(
    setup: &Setup,
    directory: &Path,
    json: bool,
    say: &mut dyn FnMut(&str),
) -> anyhow::Result<ExitCode> {
    output_directory::check(directory, LISTING, "eroam simulate --serve")?;
    std::fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
    };
    // Before anybody is told the addresses: whoever reads them may end this at once.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let told = {
        let _context = runtime.enter();
        Told::new().context("signals cannot be waited for")?
    };
    let served = Served::start(setup, say)?;
    let listing = served.listing();
    // First what says that the rest is this program's.
    write(LISTING, &serde_json::to_string_pretty(&listing)?)?;
    write(GENESIS, &served.genesis())?;
    for station in &listing.stations {
        write(&picture(&station.claims), &InvitationCode::new(&station.invitation)?.svg())?;
    }
    write(README, &readme(&listing, directory, setup.mode)?)?;
    if json {
        print_line(&serde_json::to_string(&listing)?)?;
    } else {
        print_line(&short(&listing, directory))?;
    }
    runtime.block_on(told.wait());
    drop(served);
    Ok(ExitCode::SUCCESS)
}

/// The file with the picture of a station's code.
fn picture(claims: &StationClaims) -> String {
    format!("{}.svg", claims.evse.normalised())
}

/// What is printed.
fn short(listing: &Listing, directory: &Path) -> String {
    let mut text = format!("resolver  {}\n", listing.resolver);
    for provider in &listing.providers {
        text.push_str(&format!("provider  {} {}\n", provider.party, provider.url));
    }
    for operator in &listing.operators {
        text.push_str(&format!("operator  {} {}\n", operator.party, operator.url));
    }
    text.push_str(&format!(
        "{} stations; what to try is in {}\nserving until Ctrl-C",
        listing.stations.len(),
        directory.join(README).display()
    ));
    text
}

/// What a stranger needs: everything to type, in the order in which it is typed.
fn readme(listing: &Listing, directory: &Path, mode: Mode) -> anyhow::Result<String> {
    let provider = listing.providers.first().context("there is no provider")?;
    let operator = listing.operators.first().context("there is no operator")?;
    let station = listing.stations.first().context("there is no station")?;
    let genesis = directory.join(GENESIS);
    let mut text = String::new();
    write!(
        text,
        "# A simulated charging network\n\nEverybody runs in one process on this machine, but the driver: that is you. \
         It ends with Ctrl-C there, and with it its ledger and its contracts.\n\n\
         ```sh\n\
         eroam wallet init --resolver {resolver} --genesis {genesis}\n\
         eroam wallet enrol {provider} --field name=You --field email=you@example.org \\\n    \
         --field iban=GB29NWBK60161331926819\n\
         eroam wallet find {operator}\n\
         eroam wallet scan '{invitation}'{mode}\n\
         eroam wallet quote '{invitation}' --energy 1{mode}\n\
         eroam wallet charge '{invitation}' --energy 1{mode}\n\
         eroam wallet receipts\n\
         eroam wallet receipts --proof 1 proof.json\n\
         eroam verify proof.json --trust {genesis}\n\
         eroam wallet bill\n\
         ```\n\n\
         A charge takes as long as it would at a station of 150 kW; `eroam wallet stop` in another terminal ends it. If the \
         wallet is killed meanwhile, the charge goes on, and `eroam wallet charge --resume` takes it up again.\n\n\
         ## Providers\n\n",
        resolver = listing.resolver,
        genesis = genesis.display(),
        mode = match mode {
            Mode::Default => "",
            Mode::Paper => " --mode paper",
        },
        provider = provider.url,
        operator = operator.url,
        invitation = station.invitation,
    )?;
    for provider in &listing.providers {
        writeln!(text, "- {}: {}", provider.party, provider.url)?;
    }
    text.push_str("\n## Operators\n\n");
    for operator in &listing.operators {
        writeln!(text, "- {}: {}", operator.party, operator.url)?;
    }
    text.push_str("\n## Stations\n");
    for station in &listing.stations {
        let claims = &station.claims;
        write!(
            text,
            "\n### {}: {}, {}\n\n{}\n\n",
            claims.evse,
            claims.place,
            kw(claims.power),
            station.invitation
        )?;
        let code = InvitationCode::new(&station.invitation)?;
        writeln!(text, "The same to print: `{}`\n\n```text\n{}\n```", picture(claims), code.text())?;
    }
    Ok(text)
}
