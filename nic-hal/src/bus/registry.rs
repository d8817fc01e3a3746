//! Drivers, and the functions that they are bound to.
//!
//! A driver names the functions that it is for by a table. The registry probes it
//! for those that it finds, as functions are plugged in, and lets it go of those
//! that are pulled out. It does so when it is asked to ([`PciDrivers::scan`]); so
//! probing happens where the owner of the registry wants it, and with what that
//! owner lends.

use super::{PciDevice, PciIdMatch};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Whom drivers work for, as a bundle of types.
pub trait Host: 'static {
    /// The functions of its bus.
    type Device: PciDevice;
    /// What it lends to a driver that is probed or removed, like a network stack.
    type Context<'a>: ?Sized;
    /// What comes of a function that a driver was bound to.
    type Bound: Send;
    /// Why a driver was not bound.
    type Error;
}

/// A driver of PCI functions.
pub trait PciDriver<H: Host>: Send + Sync {
    /// Its name, unique among the drivers of a registry.
    fn name(&self) -> &'static str;

    /// The functions that it is for.
    fn id_table(&self) -> &[PciIdMatch];

    /// Binds the driver to a function that its table names.
    ///
    /// # Errors
    /// The driver's reason. The function is then as it was before.
    fn probe(&self, cx: &mut H::Context<'_>, device: &Arc<H::Device>)
    -> Result<H::Bound, H::Error>;

    /// Lets go of a function, which may be gone already.
    fn remove(&self, cx: &mut H::Context<'_>, device: &Arc<H::Device>, bound: H::Bound);
}

/// What a scan has changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Change<E> {
    /// A driver was bound to a function.
    Bound {
        /// The function.
        function: String,
        /// The driver.
        driver: &'static str,
    },
    /// A driver was probed for a function and refused. It is not probed for it
    /// again.
    Refused {
        /// The function.
        function: String,
        /// The driver.
        driver: &'static str,
        /// Its reason.
        error: E,
    },
    /// A driver has let go of a function that was pulled out.
    Removed {
        /// The function.
        function: String,
        /// The driver.
        driver: &'static str,
    },
}

/// Why a driver could not be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// There is a driver of that name.
    #[error("there is a driver {0} already")]
    NameTaken(&'static str),
}

/// Why a driver was not bound to a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindError<E> {
    /// No driver's table names the function.
    #[error("no driver is for this function")]
    NoDriver,
    /// A driver is bound to it already.
    #[error("the driver {0} is bound to the function already")]
    Bound(&'static str),
    /// The driver that was probed last refused.
    #[error(transparent)]
    Refused(E),
}

/// Drivers and what they are bound to.
pub struct PciDrivers<H: Host> {
    drivers: Vec<Box<dyn PciDriver<H>>>,
    known: Vec<Known<H>>,
}

/// A function that was seen.
struct Known<H: Host> {
    device: Arc<H::Device>,
    /// The drivers that have refused it.
    refused: Vec<&'static str>,
    binding: Option<Binding<H>>,
}

struct Binding<H: Host> {
    driver: &'static str,
    bound: H::Bound,
}

impl<H: Host> Default for PciDrivers<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: Host> PciDrivers<H> {
    /// No drivers.
    #[must_use]
    pub fn new() -> Self {
        Self {
            drivers: Vec::new(),
            known: Vec::new(),
        }
    }

    /// These drivers. Of two with one name, the second is left out.
    pub fn with(drivers: impl IntoIterator<Item = Box<dyn PciDriver<H>>>) -> Self {
        let mut registry = Self::new();
        for driver in drivers {
            let _ = registry.register(driver);
        }
        registry
    }

    /// Adds a driver. It is probed by the next scan.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn register(&mut self, driver: Box<dyn PciDriver<H>>) -> Result<(), RegisterError> {
        let name = driver.name();
        if self.drivers.iter().any(|other| other.name() == name) {
            return Err(RegisterError::NameTaken(name));
        }
        self.drivers.push(driver);
        Ok(())
    }

    /// Takes a driver away, which lets go of all its functions first. Returns
    /// whether it was there. The next scan finds other drivers for them.
    pub fn unregister(&mut self, cx: &mut H::Context<'_>, name: &str) -> bool {
        let Some(at) = self.drivers.iter().position(|d| d.name() == name) else {
            return false;
        };
        for known in &mut self.known {
            known.refused.retain(|driver| *driver != name);
            known.release(&self.drivers, cx, |driver| driver == name);
        }
        self.drivers.remove(at);
        true
    }

    /// Brings the bindings up to date with the functions that are plugged in:
    /// drivers let go of those that are not among them, or are gone, and are probed
    /// for the others, in the order in which they were registered, until one takes
    /// the function.
    pub fn scan(
        &mut self,
        cx: &mut H::Context<'_>,
        present: impl IntoIterator<Item = Arc<H::Device>>,
    ) -> Vec<Change<H::Error>> {
        let present: Vec<_> = present.into_iter().collect();
        let mut changes = self.let_go(cx, &present);
        for device in present {
            let at = self.know(device);
            let Some(known) = self.known.get_mut(at) else {
                continue;
            };
            known.probe(&self.drivers, cx, &mut changes);
        }
        changes
    }

    /// Probes drivers for one function, as a scan does.
    ///
    /// # Errors
    /// [`BindError`], with the last driver's reason. The function is then as
    /// if it had not been seen.
    pub fn bind(
        &mut self,
        cx: &mut H::Context<'_>,
        device: Arc<H::Device>,
    ) -> Result<&H::Bound, BindError<H::Error>> {
        let at = self.know(device);
        let mut changes = Vec::new();
        if let Some(known) = self.known.get_mut(at) {
            if let Some(binding) = &known.binding {
                return Err(BindError::Bound(binding.driver));
            }
            known.refused.clear();
            known.probe(&self.drivers, cx, &mut changes);
        }
        let is_bound = self.known.get(at).is_some_and(|k| k.binding.is_some());
        if !is_bound {
            self.known.remove(at);
            return Err(reason(changes));
        }
        let binding = self.known.get(at).and_then(|k| k.binding.as_ref());
        binding.map(|b| &b.bound).ok_or(BindError::NoDriver)
    }

    /// Has the driver let go of the first function that is `which`, by the function
    /// and by what came of it. Returns whether there was one. A function that is
    /// still there is found again by the next scan.
    pub fn unbind(
        &mut self,
        cx: &mut H::Context<'_>,
        which: impl Fn(&H::Device, &H::Bound) -> bool,
    ) -> bool {
        let is = |known: &Known<H>| {
            let binding = known.binding.as_ref();
            binding.is_some_and(|binding| which(&known.device, &binding.bound))
        };
        let Some(at) = self.known.iter().position(is) else {
            return false;
        };
        let mut known = self.known.remove(at);
        known.release(&self.drivers, cx, |_| true).is_some()
    }

    /// What is bound: function, driver, and what came of it.
    pub fn bound(&self) -> impl Iterator<Item = (&str, &'static str, &H::Bound)> {
        self.known.iter().filter_map(|known| {
            let binding = known.binding.as_ref()?;
            Some((known.device.name(), binding.driver, &binding.bound))
        })
    }

    fn let_go(
        &mut self,
        cx: &mut H::Context<'_>,
        present: &[Arc<H::Device>],
    ) -> Vec<Change<H::Error>> {
        let listed = |name: &str| present.iter().any(|device| device.name() == name);
        let stays = |known: &mut Known<H>| known.device.is_present() && listed(known.device.name());
        let mut changes = Vec::new();
        for mut gone in self.known.extract_if(.., |known| !stays(known)) {
            let function = gone.device.name().into();
            if let Some(driver) = gone.release(&self.drivers, cx, |_| true) {
                changes.push(Change::Removed { function, driver });
            }
        }
        changes
    }

    /// The place of a function among the known ones, which it joins at the end. One
    /// of the same name that is gone was another one.
    fn know(&mut self, device: Arc<H::Device>) -> usize {
        let same =
            |known: &Known<H>| known.device.is_present() && known.device.name() == device.name();
        let at = self.known.iter().position(same);
        at.unwrap_or_else(|| {
            self.known.push(Known {
                device,
                refused: Vec::new(),
                binding: None,
            });
            self.known.len() - 1
        })
    }
}

impl<H: Host> Known<H> {
    fn probe(
        &mut self,
        drivers: &[Box<dyn PciDriver<H>>],
        cx: &mut H::Context<'_>,
        changes: &mut Vec<Change<H::Error>>,
    ) {
        for driver in drivers {
            if self.binding.is_some() {
                return;
            }
            changes.extend(self.try_driver(&**driver, cx));
        }
    }

    fn try_driver(
        &mut self,
        driver: &dyn PciDriver<H>,
        cx: &mut H::Context<'_>,
    ) -> Option<Change<H::Error>> {
        let name = driver.name();
        let ids = self.device.ids();
        let is_for = driver.id_table().iter().any(|line| line.matches(&ids));
        if !is_for || self.refused.contains(&name) {
            return None;
        }
        let function = self.device.name().into();
        match driver.probe(cx, &self.device) {
            Ok(bound) => {
                self.binding = Some(Binding {
                    driver: name,
                    bound,
                });
                Some(Change::Bound {
                    function,
                    driver: name,
                })
            }
            Err(error) => {
                self.refused.push(name);
                Some(Change::Refused {
                    function,
                    driver: name,
                    error,
                })
            }
        }
    }

    /// Has the driver let go, if it is one of those. Returns its name.
    fn release(
        &mut self,
        drivers: &[Box<dyn PciDriver<H>>],
        cx: &mut H::Context<'_>,
        which: impl Fn(&str) -> bool,
    ) -> Option<&'static str> {
        let binding = self.binding.take_if(|binding| which(binding.driver))?;
        let mut drivers = drivers.iter();
        if let Some(driver) = drivers.find(|driver| driver.name() == binding.driver) {
            driver.remove(cx, &self.device, binding.bound);
        }
        Some(binding.driver)
    }
}

/// Why nothing was bound.
fn reason<E>(changes: Vec<Change<E>>) -> BindError<E> {
    let errors = changes.into_iter().filter_map(|change| match change {
        Change::Refused { error, .. } => Some(error),
        Change::Bound { .. } | Change::Removed { .. } => None,
    });
    errors
        .last()
        .map_or(BindError::NoDriver, BindError::Refused)
}
