//! How targets differ, as measured on the servers.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Drops share locks at XA PREPARE; answers 1397 to everybody but the owner while that is
    /// connected; goes on after a failed statement.
    Mariadb,
    /// Does neither of the first two.
    Mysql,
    /// A failed statement fails the transaction; a prepared one belongs to no session; rolling
    /// back costs nothing.
    Postgres,
    /// PostgreSQL without prepared transactions: T stays open until the decision.
    PostgresHeld,
    /// T stays open until the decision, one writer at a time, and no KILL.
    Sqlite,
}

impl Dialect {
    pub const ALL: [Dialect; 5] = [
        Dialect::Mariadb,
        Dialect::Mysql,
        Dialect::Postgres,
        Dialect::PostgresHeld,
        Dialect::Sqlite,
    ];

    /// What is prepared survives its session.
    pub fn is_durable(self) -> bool {
        !matches!(self, Dialect::PostgresHeld | Dialect::Sqlite)
    }

    /// Rolling back takes about as long as loading took.
    pub fn undoes(self) -> bool {
        matches!(self, Dialect::Mariadb | Dialect::Mysql)
    }

    /// After a failed statement nothing but a rollback is possible.
    pub fn fails_whole(self) -> bool {
        matches!(self, Dialect::Postgres | Dialect::PostgresHeld)
    }

    /// Loses rows with no more than a warning.
    pub fn only_warns(self) -> bool {
        self.undoes()
    }

    pub fn writers_max(self) -> u32 {
        match self {
            Dialect::Sqlite => 1,
            _ => 64,
        }
    }
}
