"""The tables of the node's store.

Rules: what was acknowledged is committed before; a row that says 'to do' is deleted in the transaction that writes its
result, so that kill -9 at any point leaves work that is done again or done, never lost (I9). Labels and match secrets
stay in `token` and leave the process in no other form than tokens and MACs (I1).
"""

from typing import Final

VERSION: Final = 5

SCHEMA: Final = """
-- incarnation, published sequence, notice cursor, ledger incarnation, schema version
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

-- a case profile holds the justification (LB-05); its text never leaves the node
CREATE TABLE case_profile (
    id INTEGER PRIMARY KEY,
    reference TEXT NOT NULL UNIQUE,
    purpose TEXT NOT NULL,
    profile TEXT NOT NULL,            -- JSON
    valid_until TEXT NOT NULL,        -- last day, ISO 8601; after it nothing is asked any more
    added_at REAL NOT NULL
);

-- every form that a profile had: which of them a request's hash stands for shows when it is opened (I5)
CREATE TABLE case_form (
    case_id INTEGER NOT NULL REFERENCES case_profile (id),
    profile TEXT NOT NULL,            -- JSON
    added_at REAL NOT NULL,
    PRIMARY KEY (case_id, profile)
) WITHOUT ROWID;

CREATE TABLE file (
    id INTEGER PRIMARY KEY,
    sha256 BLOB NOT NULL,
    name TEXT NOT NULL,
    format TEXT NOT NULL,
    encoding TEXT NOT NULL,
    delimiter TEXT,
    size_bytes INTEGER NOT NULL,
    case_id INTEGER NOT NULL REFERENCES case_profile (id),
    operation TEXT NOT NULL DEFAULT '',   -- '' is standing work
    domain TEXT NOT NULL DEFAULT '',      -- of its values: '' is real, else the exercise
    complete INTEGER NOT NULL DEFAULT 0,  -- all rows are stored; before that, submit resumes after the last one
    reading TEXT NOT NULL DEFAULT '',     -- what was said of how to read it; read in another way it is another file
    added_at REAL NOT NULL,
    UNIQUE (sha256, case_id, operation, reading, domain)
);

-- who may be told of a record; many records share one (services.node.policy)
CREATE TABLE policy (
    id INTEGER PRIMARY KEY,
    content TEXT NOT NULL UNIQUE      -- canonical JSON
);

-- one thing that an officer typed, kept also where it cannot be read
CREATE TABLE record (
    id INTEGER PRIMARY KEY,
    uid BLOB NOT NULL UNIQUE,         -- 16 random bytes; what the policy journal calls it, also after a restore
    file_id INTEGER NOT NULL REFERENCES file (id),
    item INTEGER NOT NULL,            -- position in the file's order of rows, from 1
    line INTEGER NOT NULL,
    typed TEXT,
    status TEXT NOT NULL,             -- accepted | refused | withdrawn
    code TEXT,                        -- of a refusal
    reason TEXT,                      -- of a refusal; never the value
    kind TEXT,
    region TEXT,
    region_assumed INTEGER NOT NULL DEFAULT 0,
    notes TEXT NOT NULL DEFAULT '',   -- note codes of the canonical form, comma-separated
    trafficking INTEGER NOT NULL DEFAULT 0,   -- assessment: 0 checked, 1 suspected, 2 confirmed
    abuse INTEGER NOT NULL DEFAULT 0,
    row TEXT NOT NULL DEFAULT '{}',   -- context, role, evaluations, dates, handling, notes: JSON
    look_once INTEGER NOT NULL DEFAULT 0,
    policy_id INTEGER REFERENCES policy (id),
    role TEXT NOT NULL DEFAULT 'unknown',
    keep_until TEXT NOT NULL DEFAULT '9999-12-31',   -- last day, ISO 8601; after it the node withdraws it (3.8)
    known INTEGER NOT NULL DEFAULT 0,         -- its strong value was already held from another file
    UNIQUE (file_id, item)
);
CREATE INDEX record_by_line ON record (file_id, line);
CREATE INDEX record_by_end ON record (keep_until) WHERE status = 'accepted';

-- a canonical value of this node; the reference survives epochs
CREATE TABLE value (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    rules_version INTEGER NOT NULL,
    canonical TEXT NOT NULL,
    grade INTEGER NOT NULL,           -- 1 strong, 2 weak (wire Grade)
    reference BLOB NOT NULL UNIQUE,   -- 16 random bytes
    kept INTEGER NOT NULL,            -- 1: published and found by others; 0: look once, or local only
    domain TEXT NOT NULL DEFAULT '',  -- '' is real, else the exercise whose domain string its tokens have
    UNIQUE (namespace, rules_version, canonical, grade, domain)
);
CREATE INDEX value_of_exercise ON value (domain) WHERE domain <> '';
CREATE INDEX value_unkept ON value (id) WHERE kept = 0;

CREATE TABLE record_value (
    record_id INTEGER NOT NULL REFERENCES record (id),
    value_id INTEGER NOT NULL REFERENCES value (id),
    PRIMARY KEY (record_id, value_id)
) WITHOUT ROWID;
CREATE INDEX record_value_by_value ON record_value (value_id);

-- secrets of a value in an epoch; sequence is NULL until the token is in a published batch
CREATE TABLE token (
    epoch INTEGER NOT NULL,
    value_id INTEGER NOT NULL REFERENCES value (id),
    label BLOB NOT NULL,
    secret BLOB NOT NULL,
    token BLOB NOT NULL,
    sequence INTEGER,
    PRIMARY KEY (epoch, value_id)
) WITHOUT ROWID;
CREATE INDEX token_by_token ON token (token, epoch);
CREATE INDEX token_unpublished ON token (epoch) WHERE sequence IS NULL;
CREATE INDEX token_by_sequence ON token (sequence) WHERE sequence IS NOT NULL;
CREATE INDEX token_by_value ON token (value_id);

-- what a derived index must agree with (services.node.index): random stamps, so that a store that was restored from an
-- older copy and numbered on never passes for the one that the index was made of; rows before the last that an index
-- covers are deleted
CREATE TABLE numbered (
    sequence INTEGER PRIMARY KEY,
    stamp BLOB NOT NULL
);
-- values with a numbered token of which something changed that a hit is made of: what an index wrote of them before is
-- not to be believed any more. The triggers below write it, so that nothing that changes a value can forget to
CREATE TABLE index_changed (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    value_id INTEGER NOT NULL,        -- no reference: the value may be gone, and its id may be given again
    gone INTEGER NOT NULL,            -- 1: a token of it was deleted
    stamp BLOB NOT NULL
);
-- drawn anew whenever an operation's set may have changed: a sweep uses the set that it made before while this stays
CREATE TABLE set_stamp (
    operation TEXT PRIMARY KEY,
    stamp BLOB NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER set_grown AFTER INSERT ON record
WHEN (SELECT operation FROM file WHERE id = NEW.file_id) <> ''
BEGIN
    INSERT INTO set_stamp SELECT operation, randomblob(8) FROM file WHERE id = NEW.file_id
    ON CONFLICT (operation) DO UPDATE SET stamp = excluded.stamp;
END;
CREATE TRIGGER set_changed AFTER UPDATE OF status, look_once, keep_until, trafficking, abuse, policy_id ON record
WHEN (SELECT operation FROM file WHERE id = NEW.file_id) <> ''
BEGIN
    INSERT INTO set_stamp SELECT operation, randomblob(8) FROM file WHERE id = NEW.file_id
    ON CONFLICT (operation) DO UPDATE SET stamp = excluded.stamp;
END;
CREATE TRIGGER set_shrunk AFTER DELETE ON record
WHEN (SELECT operation FROM file WHERE id = OLD.file_id) <> ''
BEGIN
    INSERT INTO set_stamp SELECT operation, randomblob(8) FROM file WHERE id = OLD.file_id
    ON CONFLICT (operation) DO UPDATE SET stamp = excluded.stamp;
END;
CREATE TRIGGER set_of_case AFTER UPDATE OF valid_until ON case_profile WHEN NEW.valid_until <> OLD.valid_until
BEGIN
    UPDATE set_stamp SET stamp = randomblob(8);
END;
CREATE TRIGGER set_of_value AFTER UPDATE OF reference ON value
BEGIN
    UPDATE set_stamp SET stamp = randomblob(8);
END;
CREATE TRIGGER token_gone AFTER DELETE ON token WHEN OLD.sequence IS NOT NULL
BEGIN
    INSERT INTO index_changed (value_id, gone, stamp) VALUES (OLD.value_id, 1, randomblob(8));
END;
-- nothing changes a token but the number that it gets once: whoever would, deletes it and writes another
CREATE TRIGGER token_stays BEFORE UPDATE OF epoch, value_id, label, secret, token ON token
BEGIN
    SELECT RAISE(ABORT, 'a token does not change');
END;
CREATE TRIGGER token_number_stays BEFORE UPDATE OF sequence ON token WHEN OLD.sequence IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a numbered token keeps its number');
END;
CREATE TRIGGER value_id_stays BEFORE UPDATE OF id ON value
BEGIN
    SELECT RAISE(ABORT, 'a value keeps its id');
END;
CREATE TRIGGER value_changed AFTER UPDATE OF namespace, grade, reference, kept, domain ON value
WHEN EXISTS (SELECT 1 FROM token WHERE value_id = OLD.id AND sequence IS NOT NULL)
BEGIN
    INSERT INTO index_changed (value_id, gone, stamp) VALUES (OLD.id, 0, randomblob(8));
END;
CREATE TRIGGER value_gone AFTER DELETE ON value
WHEN EXISTS (SELECT 1 FROM token WHERE value_id = OLD.id AND sequence IS NOT NULL)
BEGIN
    INSERT INTO index_changed (value_id, gone, stamp) VALUES (OLD.id, 1, randomblob(8));
END;

-- to do: this value has no token of this epoch yet; deleted in the transaction that stores the token
CREATE TABLE to_tokenise (
    epoch INTEGER NOT NULL,
    key_class TEXT NOT NULL,          -- strong | weak
    value_id INTEGER NOT NULL REFERENCES value (id),
    case_id INTEGER NOT NULL REFERENCES case_profile (id),   -- whose justification the request carries (I5)
    PRIMARY KEY (epoch, key_class, case_id, value_id)
) WITHOUT ROWID;
CREATE INDEX to_tokenise_by_value ON to_tokenise (value_id);

-- to do: this value is to be checked for this purpose and operation, which holders may make conditions of (LB-23);
-- deleted in the transaction that puts it into a batch
CREATE TABLE to_check (
    value_id INTEGER NOT NULL REFERENCES value (id),
    purpose TEXT NOT NULL,
    case_id INTEGER NOT NULL REFERENCES case_profile (id),
    operation TEXT NOT NULL,
    look_once INTEGER NOT NULL,
    PRIMARY KEY (value_id, purpose, operation)
) WITHOUT ROWID;

-- values that are asked together; each value once an epoch, purpose and operation
CREATE TABLE batch (
    id INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    purpose TEXT NOT NULL,
    case_id INTEGER NOT NULL REFERENCES case_profile (id),
    operation TEXT NOT NULL,
    look_once INTEGER NOT NULL
);
CREATE TABLE batch_item (
    batch_id INTEGER NOT NULL REFERENCES batch (id),
    position INTEGER NOT NULL,
    value_id INTEGER NOT NULL REFERENCES value (id),
    epoch INTEGER NOT NULL,
    purpose TEXT NOT NULL,
    operation TEXT NOT NULL,
    PRIMARY KEY (batch_id, position),
    UNIQUE (value_id, epoch, purpose, operation)
) WITHOUT ROWID;

-- holders that have not yet covered a batch (3.5); only 'covered' or the end of the case deletes a row
CREATE TABLE pending (
    batch_id INTEGER NOT NULL REFERENCES batch (id),
    holder TEXT NOT NULL,             -- SPIFFE id
    state TEXT NOT NULL,              -- new | offline | timed_out | outside
    attempts INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (batch_id, holder)
) WITHOUT ROWID;
CREATE INDEX pending_by_holder ON pending (holder);

-- what was signed and sent; needed to verify answers later
CREATE TABLE sent_check (
    check_id BLOB PRIMARY KEY,
    batch_id INTEGER NOT NULL REFERENCES batch (id),
    header BLOB NOT NULL,
    header_hash BLOB NOT NULL,
    sent_at REAL NOT NULL,
    certificate BLOB                  -- signed coverage, once it is there
) WITHOUT ROWID;

-- asks that this node verified as a holder, stored before the answer leaves
CREATE TABLE witness (
    own_reference BLOB NOT NULL,
    asker TEXT NOT NULL,
    asker_reference BLOB NOT NULL,
    check_id BLOB NOT NULL,
    PRIMARY KEY (own_reference, asker, asker_reference)
) WITHOUT ROWID;

-- pairs that this node verified in a sweep
CREATE TABLE verified_pair (
    own_reference BLOB NOT NULL,
    peer TEXT NOT NULL,
    peer_reference BLOB NOT NULL,
    sweep_id BLOB NOT NULL,
    PRIMARY KEY (own_reference, peer, peer_reference, sweep_id)
) WITHOUT ROWID;

-- a coincidence seen as a holder, with the asker's group tags; a lone weak one tells nobody (2)
CREATE TABLE weak_coincidence (
    own_reference BLOB NOT NULL,
    asker TEXT NOT NULL,
    asker_reference BLOB NOT NULL,
    check_id BLOB NOT NULL,
    grade INTEGER NOT NULL DEFAULT 2,
    line_tag BLOB NOT NULL DEFAULT x'',
    record_tag BLOB NOT NULL DEFAULT x'',
    PRIMARY KEY (own_reference, asker, asker_reference)
) WITHOUT ROWID;
CREATE INDEX coincidence_by_line ON weak_coincidence (asker, line_tag);

-- the inbox: notices as they came; written in one transaction with what they mean and with the cursor
CREATE TABLE notice (
    cursor INTEGER PRIMARY KEY,
    content BLOB NOT NULL,
    received_at REAL NOT NULL
);
-- a holder that answers two values with one reference gets one edge for both; neither match may hide the other
CREATE TABLE told (
    edge_id BLOB NOT NULL,
    own_reference BLOB NOT NULL,
    other TEXT NOT NULL,              -- SPIFFE id
    other_reference BLOB NOT NULL,
    handle TEXT NOT NULL,
    grade INTEGER NOT NULL,
    told_at_ms INTEGER NOT NULL,
    asked INTEGER NOT NULL,
    check_id BLOB,
    sweep_id BLOB,
    look_once INTEGER NOT NULL DEFAULT 0,
    exercise INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL,              -- shown | refused | voided | withdrawn
    PRIMARY KEY (edge_id, own_reference)
) WITHOUT ROWID;
CREATE INDEX told_by_reference ON told (own_reference);

-- what this node and the other side said of a told edge, oldest first
CREATE TABLE feedback (
    edge_id BLOB NOT NULL,
    own_reference BLOB NOT NULL,
    own INTEGER NOT NULL,             -- 1: said here; 0: said by the other side
    reason TEXT NOT NULL,
    officer TEXT NOT NULL DEFAULT '', -- pseudonym, of this node only
    at_ms INTEGER NOT NULL,
    message BLOB NOT NULL,            -- signed wire.Feedback
    sent INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (edge_id, own_reference, own)
) WITHOUT ROWID;
CREATE INDEX feedback_open ON feedback (at_ms) WHERE own = 1 AND sent = 0;

-- references of values that are withdrawn (3.8); buried once the party's own list says so
CREATE TABLE withdrawal (
    reference BLOB PRIMARY KEY,
    namespace TEXT NOT NULL,
    reason TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    buried INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX withdrawal_open ON withdrawal (at_ms) WHERE buried = 0;

-- receipts: own ones until they are sent (peer is who withdrew), and those of told parties (peer is who was told)
CREATE TABLE receipt (
    reference BLOB NOT NULL,          -- the withdrawn one
    peer TEXT NOT NULL,               -- SPIFFE id
    own INTEGER NOT NULL,
    message BLOB NOT NULL,            -- signed wire.Receipt
    at_ms INTEGER NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (reference, peer, own)
) WITHOUT ROWID;
CREATE INDEX receipt_open ON receipt (at_ms) WHERE own = 1 AND sent = 0;

-- who a pseudonym stands for; it never leaves the node (LB-16)
CREATE TABLE officer (
    pseudonym TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    unit TEXT NOT NULL,
    added_at REAL NOT NULL
) WITHOUT ROWID;

-- a change of policy that waits for a second person
CREATE TABLE policy_proposal (
    id INTEGER PRIMARY KEY,
    uid BLOB NOT NULL,                -- of the record
    policy TEXT NOT NULL,             -- canonical JSON
    officer TEXT NOT NULL,            -- pseudonym of who asked
    at_ms INTEGER NOT NULL
);

-- what the running node says of itself, for `status` and for `submit` while it waits; never a value or a token
CREATE TABLE condition (
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL,
    at REAL NOT NULL
) WITHOUT ROWID;

-- custodians and parties that broke the protocol, with the evidence
CREATE TABLE incident (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    party TEXT NOT NULL,              -- SPIFFE id
    what TEXT NOT NULL,
    evidence TEXT NOT NULL            -- JSON of hashes and proofs; no blinded element, no value
);
"""
