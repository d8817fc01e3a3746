//! Settings of a kernel interface that an XDP socket wants otherwise, and the
//! promise that each is put back.
//!
//! Nothing is changed without [`Consent`]. What was changed is put back by
//! [`Settings::restore`], or when the value is dropped; and if the process ends
//! without either (SIGKILL), by a small process that stands by from the first
//! change on. That process holds no descriptor and no mapping of this one. It
//! is out of reach of signals to this one's process group, but not of one that
//! kills the whole control group.

mod keeper;
mod sysfs;
mod undo;

use crate::netlink::{Change, Deferral, Features, Interface, Napi, NetlinkError};
use bitflags::bitflags;
use keeper::Keeper;
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use undo::Undo;

bitflags! {
    /// What the user allows to be changed.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Consent: u8 {
        /// The number of queues (`ethtool -L`). The link may go down for a moment.
        const QUEUES = 1;
        /// When NAPI instances leave their interrupt masked.
        const DEFERRAL = 1 << 1;
        /// Offloads (`ethtool -K`).
        const FEATURES = 1 << 2;
    }
}

/// A setting was not changed, or not put back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The user has not allowed it.
    #[error(
        "{interface} needs another setting, and changing it was not allowed: allow it, or run `{command}`"
    )]
    Consent {
        /// The interface.
        interface: String,
        /// What the user can do instead.
        command: String,
    },
    /// The driver has no such number of queues.
    #[error(
        "{interface} cannot have {wanted} queues in each direction: its driver takes at most {max}"
    )]
    Queues {
        /// The interface.
        interface: String,
        /// Queues that were asked for.
        wanted: u32,
        /// The most that can be had.
        max: u32,
    },
    /// Neither netlink nor sysfs has the setting.
    #[error("{interface} has no setting of its own for {setting} that can be reached from here")]
    Unknown {
        /// The interface.
        interface: String,
        /// What was to be set.
        setting: &'static str,
    },
    /// The driver took the request, and the feature is as before.
    #[error(
        "{feature} of {interface} stays as it is: another feature depends on it, or it is fixed (see `ethtool -k {interface}`)"
    )]
    Feature {
        /// The interface.
        interface: String,
        /// The feature.
        feature: String,
    },
    /// A file of sysfs could not be used.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The process that would put the setting back could not be had, so the
    /// setting was left alone.
    #[error(
        "nothing was changed, since the process that would put it back after a crash could not be had: {0}"
    )]
    Keeper(#[source] io::Error),
    /// A setting could not be put back.
    #[error(
        "a setting of {interface} could not be put back before this process ends: {source}; close the XDP sockets first"
    )]
    Restore {
        /// The interface.
        interface: String,
        /// The kernel's answer to the last attempt.
        source: io::Error,
    },
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// The settings of one interface, as they are wanted for the life of this value.
#[derive(Debug)]
pub struct Settings {
    interface: Interface,
    consent: Consent,
    /// For the ways back; the keeper has it too.
    generic: OwnedFd,
    undos: Vec<Undo>,
    keeper: Option<Keeper>,
}

/// Attempts to put back what is in use, 10 ms apart, by this process.
const TRIES: u32 = 200;

impl Settings {
    /// Changes nothing yet.
    ///
    /// # Errors
    /// No socket could be had.
    pub fn new(interface: Interface, consent: Consent) -> Result<Self, SettingsError> {
        let generic = undo::generic_socket().map_err(|error| NetlinkError::Socket(error.into()))?;
        Ok(Self {
            interface,
            consent,
            generic,
            undos: Vec::new(),
            keeper: None,
        })
    }

    /// The interface.
    #[must_use]
    pub const fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Whether a setting was changed.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        !self.undos.is_empty()
    }

    /// Gives the interface `queues` queues in each direction. The kernel refuses
    /// while an XDP socket is bound to a queue that would go: set the queues
    /// before the sockets are opened, and close them before the settings are put
    /// back.
    ///
    /// # Errors
    /// The user has not allowed it and the queues are others, the driver has no
    /// such number, or the kernel refused.
    pub fn set_queues(&mut self, queues: u32) -> Result<(), SettingsError> {
        let now = self.interface.channels()?;
        let in_use = self.interface.rx_queues()?;
        let Some(now) = now else {
            return self.fixed_queues(queues, in_use);
        };
        if now.current.rx_queues() == queues && now.current.tx_queues() == queues {
            return Ok(());
        }
        let max = now.max_queues();
        let wanted = now
            .for_queues(queues)
            .ok_or_else(|| self.too_many(queues, max))?;
        let command = || {
            format!(
                "ethtool -L {} {}",
                self.interface.name(),
                now.arguments(wanted)
            )
        };
        self.ask_for(Consent::QUEUES, command)?;
        let back = self.interface.channels_change(&now, now.current)?;
        let change = self.interface.channels_change(&now, wanted)?;
        self.change(&change, &back)
    }

    fn fixed_queues(&self, queues: u32, in_use: u32) -> Result<(), SettingsError> {
        match queues == in_use {
            true => Ok(()),
            false => Err(self.too_many(queues, in_use)),
        }
    }

    fn too_many(&self, wanted: u32, max: u32) -> SettingsError {
        SettingsError::Queues {
            interface: self.name(),
            wanted,
            max,
        }
    }

    /// Sets when every NAPI instance of the interface leaves its interrupt
    /// masked: by netlink, or by the interface's files in sysfs where the kernel
    /// or the interface has no settings for each instance. Those files know no
    /// `irq_suspend_timeout_ns`.
    ///
    /// A veth makes its instances anew when a program is attached to it: set
    /// this afterwards.
    ///
    /// # Errors
    /// The user has not allowed it and it is set otherwise, neither way is there,
    /// or the kernel refused.
    pub fn set_deferral(&mut self, wanted: Deferral) -> Result<(), SettingsError> {
        let napis = self.interface.napis()?.unwrap_or_default();
        let known = !napis.is_empty() && napis.iter().all(|napi| napi.deferral.is_some());
        if !known {
            return self.set_deferral_by_files(wanted);
        }
        for napi in napis {
            self.set_napi(napi, wanted)?;
        }
        Ok(())
    }

    fn set_napi(&mut self, napi: Napi, wanted: Deferral) -> Result<(), SettingsError> {
        let now = napi.deferral.unwrap_or_default();
        if now == wanted {
            return Ok(());
        }
        self.ask_for(Consent::DEFERRAL, || {
            sysfs::command(self.interface.name(), wanted)
        })?;
        let back = self.interface.deferral_change(napi.id, wanted, now)?;
        let change = self.interface.deferral_change(napi.id, now, wanted)?;
        self.change(&change, &back)
    }

    fn set_deferral_by_files(&mut self, wanted: Deferral) -> Result<(), SettingsError> {
        let link = self.interface.link()?;
        let files = sysfs::files(&link).ok_or_else(|| SettingsError::Unknown {
            interface: self.name(),
            setting: "the deferral of interrupts",
        })?;
        for (file, text) in files.into_iter().zip(sysfs::texts(wanted)) {
            let now = file.read()?;
            if now != text {
                self.ask_for(Consent::DEFERRAL, || sysfs::command(&link.name, wanted))?;
                self.remember(file.undo(&now))?;
                file.write(&text)?;
            }
        }
        Ok(())
    }

    /// Turns features on or off, each by the kernel's name for it, as
    /// `tx-checksum-ip-generic`.
    ///
    /// # Errors
    /// The user has not allowed it and one is otherwise, one cannot be changed,
    /// or the kernel refused.
    pub fn set_features(&mut self, wanted: &[(&str, bool)]) -> Result<(), SettingsError> {
        let now = self.features()?;
        let change: BTreeMap<_, _> = wanted
            .iter()
            .filter(|(name, on)| now.is_active(name) != *on)
            .map(|(name, on)| ((*name).to_owned(), *on))
            .collect();
        if change.is_empty() {
            return Ok(());
        }
        let command = || features_command(self.interface.name(), &change);
        self.ask_for(Consent::FEATURES, command)?;
        let old = |name: &String| (name.clone(), now.wanted.contains(name));
        let back = change.keys().map(old).collect();
        let back = self.interface.features_change(&back)?;
        let forth = self.interface.features_change(&change)?;
        self.change(&forth, &back)?;
        self.check_features(&change)
    }

    fn features(&self) -> Result<Features, SettingsError> {
        let features = self.interface.features()?;
        features.ok_or_else(|| SettingsError::Unknown {
            interface: self.name(),
            setting: "its offloads",
        })
    }

    /// The kernel takes a request for what cannot be, and does what can be.
    fn check_features(&self, wanted: &BTreeMap<String, bool>) -> Result<(), SettingsError> {
        let now = self.features()?;
        let mut wrong = wanted
            .iter()
            .filter(|(name, on)| now.is_active(name) != **on);
        match wrong.next() {
            None => Ok(()),
            Some((feature, _)) => Err(SettingsError::Feature {
                interface: self.name(),
                feature: feature.clone(),
            }),
        }
    }

    /// Puts everything back, the last change first. Close the sockets first.
    ///
    /// # Errors
    /// A setting could not be put back for two seconds, since it is in use. It is
    /// put back when this process has ended.
    pub fn restore(mut self) -> Result<(), SettingsError> {
        self.put_back()
    }

    fn put_back(&mut self) -> Result<(), SettingsError> {
        let keeper = self.keeper.take();
        while let Some(undo) = self.undos.pop() {
            if let Err(error) = undo::run(self.generic.as_fd(), undo.bytes(), TRIES) {
                self.undos.clear();
                if let Some(keeper) = keeper {
                    keeper.leave_it_all_to_it();
                }
                return Err(self.not_restored(error));
            }
        }
        if let Some(keeper) = keeper {
            keeper.dismiss();
        }
        Ok(())
    }

    fn not_restored(&self, error: Errno) -> SettingsError {
        SettingsError::Restore {
            interface: self.name(),
            source: error.into(),
        }
    }

    fn ask_for(
        &self,
        consent: Consent,
        command: impl FnOnce() -> String,
    ) -> Result<(), SettingsError> {
        match self.consent.contains(consent) {
            true => Ok(()),
            false => Err(SettingsError::Consent {
                interface: self.name(),
                command: command(),
            }),
        }
    }

    fn change(&mut self, change: &Change, back: &Change) -> Result<(), SettingsError> {
        let back = self.interface.encode(back)?;
        self.remember(Undo::message(&back))?;
        Ok(self.interface.apply(change)?)
    }

    /// Sees to it that a setting will be put back, whatever happens from now on.
    fn remember(&mut self, undo: Undo) -> Result<(), SettingsError> {
        let failed = |error: Errno| SettingsError::Keeper(error.into());
        let mut keeper = match self.keeper.take() {
            Some(keeper) => keeper,
            None => Keeper::start(self.generic.as_fd()).map_err(failed)?,
        };
        let told = keeper.remember(undo.bytes()).map_err(failed);
        self.keeper = Some(keeper);
        told?;
        self.undos.push(undo);
        Ok(())
    }

    fn name(&self) -> String {
        self.interface.name().to_owned()
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        // Who wants to hear of it calls `restore`. What fails here is the keeper's.
        let _ = self.put_back();
    }
}

fn features_command(interface: &str, change: &BTreeMap<String, bool>) -> String {
    let words = change.iter().map(|(name, on)| match on {
        true => format!(" {name} on"),
        false => format!(" {name} off"),
    });
    words.fold(format!("ethtool -K {interface}"), |line, word| line + &word)
}
