//! Shares of tables that all connections use together, so that no holder takes what belongs to all.
//!
//! A server numbers its tables. Each payer of a connection (its session, user, address or key, and
//! accounts for many, such as all sessions) has an [`Account`] whose allowance states its share of
//! each table. A connection takes a [`Reservation`] before it adds an entry to a table, and keeps
//! it beside the entry. Every payer is charged, and gets it back when the entry is removed. There
//! are no locks and no other table: an account lives as long as a place that it paid for.

use std::sync::{Arc, OnceLock};

use crate::accounts::{Account, Tab};

/// Who pays for what a connection takes.
#[derive(Debug, Default)]
pub struct Payers {
    /// The first stands for everybody, and counts the refusals.
    accounts: Box<[Arc<Account>]>,
    /// A payer that joined later: the user of a session that has logged in.
    joined: OnceLock<Arc<Account>>,
    /// Names those with whom the connection shares its turns when many send to one receiver; 0: it
    /// has its own turns.
    group: u64,
}

/// An entry taken in a table. Dropping it gives it back.
#[derive(Debug)]
pub struct Reservation {
    payers: Arc<Payers>,
    amount: u32,
    table: u8,
    /// Whether the payer that joined later paid too.
    is_joint: bool,
}

/// A payer has used up its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareUsed {
    /// Which of the payers, in the order in which they were given.
    pub payer: usize,
    /// Whose share it is, for messages to people: `this session`.
    pub whose: &'static str,
    /// How large the share is.
    pub share: u32,
}

impl Payers {
    /// The payers of a connection: those of its tabs, the one for everybody first. `group`: a hash
    /// of those with whom it shares turns.
    pub fn new<'a>(tabs: impl Iterator<Item = &'a Tab>, group: Option<u64>) -> Arc<Self> {
        let accounts = tabs.map(|tab| Arc::clone(tab.account())).collect();
        Arc::new(Self { accounts, joined: OnceLock::new(), group: group.unwrap_or_default() })
    }

    /// The group with which the connection shares its turns, if any.
    pub fn group(&self) -> Option<u64> {
        (self.group != 0).then_some(self.group)
    }

    /// Adds a payer for what is taken from now on. A second one is ignored.
    pub fn join(&self, tab: &Tab) {
        let _ = self.joined.set(Arc::clone(tab.account()));
    }

    /// Takes so much of a table.
    ///
    /// # Errors
    /// [`ShareUsed`]; nothing was taken then.
    pub fn take(self: &Arc<Self>, table: u8, amount: usize) -> Result<Reservation, ShareUsed> {
        self.take_as(table, amount, false)
    }

    /// The same for what cannot be refused, such as an entry that is handed over: payers may then
    /// have more than their shares.
    pub fn take_anyway(self: &Arc<Self>, table: u8, amount: usize) -> Option<Reservation> {
        self.take_as(table, amount, true).ok()
    }

    fn take_as(self: &Arc<Self>, table: u8, amount: usize, forced: bool) -> Result<Reservation, ShareUsed> {
        let (at, amount) = (usize::from(table), u32::try_from(amount).unwrap_or(u32::MAX));
        let joined = self.joined.get();
        let payers = || self.accounts.iter().chain(joined);
        for (payer, account) in payers().enumerate() {
            if !account.take(at, amount, forced) {
                payers().take(payer).for_each(|paid| paid.give_back(at, amount));
                if let Some(everybody) = self.accounts.first() {
                    everybody.note_refusal(at);
                }
                return Err(ShareUsed { payer, whose: account.whose(), share: account.share(at) });
            }
        }
        Ok(Reservation { payers: Arc::clone(self), amount, table, is_joint: joined.is_some() })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let joined = self.payers.joined.get().filter(|_| self.is_joint);
        for account in self.payers.accounts.iter().chain(joined) {
            account.give_back(usize::from(self.table), self.amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::accounts::{Accounts, Allowance};

    const TABLE: u8 = 1;

    fn tab(accounts: &Accounts<&'static str>, holder: &'static str, share: u32) -> Tab {
        let shares = std::array::from_fn(|table| if table == usize::from(TABLE) { share } else { 0 });
        let allowance = Allowance { shares, whose: holder, ..Allowance::UNLIMITED };
        accounts.open(holder, allowance).expect("no bound")
    }

    #[test]
    fn a_payer_at_its_share_is_refused_and_others_are_not() {
        let accounts = Accounts::default();
        let all = tab(&accounts, "all", 10);
        let [ann, ben] = ["ann", "ben"].map(|holder| tab(&accounts, holder, 4));
        let [of_ann, of_ben] = [&ann, &ben].map(|one| Payers::new([&all, one].into_iter(), None));
        let mut held: Vec<_> = (0..4).map(|_| of_ann.take(TABLE, 1).expect("within the share")).collect();
        assert_eq!(of_ann.take(TABLE, 1).err(), Some(ShareUsed { payer: 1, whose: "ann", share: 4 }));
        held.push(of_ben.take(TABLE, 3).expect("another's share"));
        assert!(of_ann.take(TABLE + 1, 1_000_000).is_ok(), "not counted");
        assert_eq!((all.account().held(1), all.account().refused(1)), (7, 1));
        assert_eq!(accounts.largest(1, |holder| *holder != "all"), Some(("ann", 4)));
        held.push(of_ann.take_anyway(TABLE, 9).expect("cannot be refused"));
        assert_eq!(of_ben.take(TABLE, 1).err().map(|used| used.whose), Some("all"));
        held.clear();
        assert_eq!((all.account().held(1), ann.account().held(1), ben.account().held(1)), (0, 0, 0));
        assert!(of_ann.take(TABLE, 50).is_ok(), "who has nothing may always take once");
    }

    #[test]
    fn a_payer_that_joins_is_charged_from_then_on() {
        let accounts = Accounts::default();
        let (session, user) = (tab(&accounts, "session", 9), tab(&accounts, "user", 2));
        let payers = Payers::new(std::iter::once(&session), None);
        let before = payers.take(TABLE, 1).expect("room");
        payers.join(&user);
        let after = [payers.take(TABLE, 1), payers.take(TABLE, 1)];
        assert_eq!(payers.take(TABLE, 1).err().map(|used| used.whose), Some("user"));
        drop(before);
        assert_eq!((session.account().held(1), user.account().held(1)), (2, 2));
        drop(after);
        assert_eq!((session.account().held(1), user.account().held(1)), (0, 0));
    }

    proptest! {
        #[test]
        fn nobody_has_more_than_its_share_and_all_comes_back(steps in prop::collection::vec((0_usize..3, 1_usize..4, any::<bool>()), 0..200)) {
            let accounts = Accounts::default();
            let all = tab(&accounts, "all", 12);
            let tabs = ["one", "two", "three"].map(|holder| tab(&accounts, holder, 6));
            let payers = tabs.each_ref().map(|own| Payers::new([&all, own].into_iter(), None));
            let mut held: [Vec<(Reservation, usize)>; 3] = Default::default();
            for (who, amount, takes) in steps {
                let has: usize = held[who].iter().map(|(_, amount)| amount).sum();
                let all_have: usize = held.iter().flatten().map(|(_, amount)| amount).sum();
                if takes {
                    let fits = has + amount <= 6 && all_have + amount <= 12;
                    let taken = payers[who].take(TABLE, amount);
                    prop_assert_eq!(taken.is_ok(), fits);
                    held[who].extend(taken.ok().map(|place| (place, amount)));
                } else {
                    held[who].pop();
                }
            }
            held.iter_mut().for_each(Vec::clear);
            prop_assert_eq!(all.account().held(1), 0);
            prop_assert!(tabs.iter().all(|tab| tab.account().held(1) == 0));
        }
    }
}
