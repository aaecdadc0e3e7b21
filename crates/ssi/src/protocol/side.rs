//! What every side of an exchange does alike: it takes only what belongs to its thread, and may end early.

/// Gives a side of an exchange its early ends, and the way in for messages.
///
/// The module has `Effect`, with `Send` and `Abandoned`; `Content`, which reads a message; and `report`, which writes the
/// message that ends the exchange. The side has a state `Abandoned`, `unfinished` and `name`. `$decline` is what ending it
/// on purpose is called.
macro_rules! side {
    ($side:ident $(<$proof:ident>)?, $decline:ident) => {
        impl $(<$proof>)? $side $(<$proof>)? {
            /// Ends it, and says so. `why` is for people, and read by the other side.
            ///
            /// # Errors
            /// [`Illegal::OutOfOrder`] when it ended before.
            pub fn $decline(&self, why: &str, id: MessageId) -> Result<(Self, Vec<Effect>), Illegal> {
                let Some(conversation) = self.unfinished() else {
                    return self.out_of_order(stringify!($decline));
                };
                let message = report(conversation, id, why);
                let (state, effects) = Self::abandoned(Abandonment::Declined);
                Ok((state, std::iter::once(Effect::Send(message)).chain(effects).collect()))
            }

            /// What time does: `None` while the state stays.
            #[must_use]
            pub fn expire(&self, now: UnixMillis) -> Option<(Self, Vec<Effect>)> {
                let late = self.unfinished().is_some_and(|conversation| now > conversation.deadline);
                late.then(|| Self::abandoned(Abandonment::TimedOut))
            }

            /// What a message says, if it belongs to the exchange and comes while that lasts.
            fn admit(&self, incoming: &Incoming, now: UnixMillis) -> Result<(Conversation, Content), Illegal> {
                let content = Content::read(incoming.message())?;
                let Some(conversation) = self.unfinished() else { return self.out_of_order(content.name()) };
                conversation.admit(incoming, now)?;
                Ok((conversation.clone(), content))
            }

            fn abandoned(why: Abandonment) -> (Self, Vec<Effect>) {
                (Self::Abandoned(why.clone()), vec![Effect::Abandoned(why)])
            }

            const fn out_of_order<T>(&self, event: &'static str) -> Result<T, Illegal> {
                Err(Illegal::OutOfOrder { state: self.name(), event })
            }
        }
    };
}

pub(super) use side;
