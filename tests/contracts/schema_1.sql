-- An installation of schema version 1 after six requests, as SQLite's own dump.
BEGIN TRANSACTION;
CREATE TABLE accounts (
	id VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	owner VARCHAR NOT NULL, 
	currency VARCHAR NOT NULL, 
	posted_nanos BIGINT DEFAULT '0' NOT NULL, 
	pending_nanos BIGINT DEFAULT '0' NOT NULL, 
	leased_nanos BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id), 
	CHECK (kind IN ('wallet', 'funding', 'revenue', 'unbilled', 'operator_excess')), 
	CHECK (pending_nanos >= 0 AND leased_nanos >= 0), 
	CONSTRAINT no_overdraft CHECK (kind <> 'wallet' OR posted_nanos - pending_nanos - leased_nanos >= 0)
);
INSERT INTO "accounts" VALUES('funding:CNY','funding','','CNY',-10000000000,0,0);
INSERT INTO "accounts" VALUES('wallet:org_01M8CMG82DTV1KZM6N6JESX0B1:CNY','wallet','org_01M8CMG82DTV1KZM6N6JESX0B1','CNY',9999790000,0,0);
INSERT INTO "accounts" VALUES('revenue:CNY','revenue','','CNY',210000,0,0);
CREATE TABLE change_counter (
	one INTEGER NOT NULL, 
	seq BIGINT NOT NULL, 
	PRIMARY KEY (one), 
	CHECK (one = 1)
);
INSERT INTO "change_counter" VALUES(1,8);
CREATE TABLE changes (
	seq BIGINT NOT NULL, 
	kind VARCHAR NOT NULL, 
	subject VARCHAR NOT NULL, 
	PRIMARY KEY (seq)
);
INSERT INTO "changes" VALUES(1,'catalog','echo');
INSERT INTO "changes" VALUES(2,'catalog','echo');
INSERT INTO "changes" VALUES(3,'prices','echo');
INSERT INTO "changes" VALUES(4,'identity','org_01M8CMG82DTV1KZM6N6JESX0B1');
INSERT INTO "changes" VALUES(5,'identity','prj_01M8CMG82FDHA552RKVS1K8NJP');
INSERT INTO "changes" VALUES(6,'key','e76b288bb5ad471216b04309');
INSERT INTO "changes" VALUES(7,'key','be662d501839a5c8de710298');
INSERT INTO "changes" VALUES(8,'prices','echo');
CREATE TABLE deployments (
	id VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	served_name VARCHAR NOT NULL, 
	weights VARCHAR NOT NULL, 
	url VARCHAR NOT NULL, 
	credential_sealed BLOB, 
	master_version INTEGER, 
	slots INTEGER NOT NULL, 
	options JSON NOT NULL, 
	wanted VARCHAR NOT NULL, 
	created_ms BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	CHECK (kind IN ('llama', 'embedder', 'echo', 'openai_http')), 
	CHECK (wanted IN ('running', 'stopped')), 
	CHECK ((kind = 'openai_http') = (url <> '')), 
	CHECK (slots > 0), 
	FOREIGN KEY(model) REFERENCES models (name)
);
INSERT INTO "deployments" VALUES('dep_01m8cmg820yme817dy3jz337qf','echo','echo','echo','','',NULL,NULL,4096,'{}','running',1795720486976);
CREATE TABLE idempotency (
	key_id VARCHAR NOT NULL, 
	idempotency_key VARCHAR NOT NULL, 
	body_hash BLOB NOT NULL, 
	request_id VARCHAR NOT NULL, 
	journal_id VARCHAR NOT NULL, 
	status INTEGER, 
	content_type VARCHAR, 
	answer BLOB, 
	created_ms BIGINT NOT NULL, 
	PRIMARY KEY (key_id, idempotency_key)
);
CREATE TABLE journals (
	id VARCHAR NOT NULL, 
	started_ms BIGINT NOT NULL, 
	state VARCHAR NOT NULL, 
	cursor_segment INTEGER NOT NULL, 
	cursor_offset INTEGER NOT NULL, 
	floor_segment INTEGER NOT NULL, 
	floor_offset INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	CHECK (state IN ('open', 'replayed', 'written_off'))
);
INSERT INTO "journals" VALUES('rly_01m8cmg8jvqdt432cffvfwxpv0',1795720487528,'replayed',1,2814,1,2814);
CREATE TABLE keys (
	id VARCHAR NOT NULL, 
	project_id VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	secret_hash BLOB NOT NULL, 
	secret_sealed BLOB NOT NULL, 
	master_version INTEGER NOT NULL, 
	scopes JSON NOT NULL, 
	models JSON, 
	created_ms BIGINT NOT NULL, 
	expires_ms BIGINT, 
	revoked_ms BIGINT, 
	last_used_ms BIGINT, 
	PRIMARY KEY (id), 
	CHECK (length(secret_hash) = 32), 
	FOREIGN KEY(project_id) REFERENCES projects (id)
);
INSERT INTO "keys" VALUES('e76b288bb5ad471216b04309','prj_01M8CMG82FDHA552RKVS1K8NJP','bootstrap admin',X'4F390FF983CC21A925E5A586CE7EF97915E5DA592401E7A9E27F8598A7A1C9DD',X'81B5ADF6547BEEF4F82359F2CF9177E6DC16642BFF9253900F54C482D46331883FBC69D37994DD7D3B061C595155C8B8920DE8F39324BE6A4B4F7330',1,'["admin", "inference", "usage"]',NULL,1795720486996,NULL,NULL,NULL);
INSERT INTO "keys" VALUES('be662d501839a5c8de710298','prj_01M8CMG82FDHA552RKVS1K8NJP','first key',X'12E35C963AED92E08F98FE9E457F67F527CE5B14B65D61D47CF7218F1B6F190F',X'281C9245911F4B70E3B6003FB1041D855369931A243618E066CF983B8F5E411BE30EFBE20D5BC2F1B53D6A9F6DA7D7D399492D2E655AC9048C2387A8',1,'["inference", "usage"]',NULL,1795720486999,NULL,NULL,1795720488292);
CREATE TABLE leases (
	account_id VARCHAR NOT NULL, 
	journal_id VARCHAR NOT NULL, 
	granted_nanos BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (account_id, journal_id), 
	CHECK (granted_nanos >= 0), 
	FOREIGN KEY(account_id) REFERENCES accounts (id), 
	FOREIGN KEY(journal_id) REFERENCES journals (id)
);
CREATE TABLE models (
	name VARCHAR NOT NULL, 
	task VARCHAR NOT NULL, 
	context_tokens INTEGER NOT NULL, 
	output_tokens_default INTEGER NOT NULL, 
	description VARCHAR NOT NULL, 
	created_ms BIGINT NOT NULL, 
	PRIMARY KEY (name), 
	CHECK (task IN ('generate', 'embed')), 
	CHECK (context_tokens > 0 AND output_tokens_default >= 0)
);
INSERT INTO "models" VALUES('echo','generate',131072,1024,'echo on this machine',1795720486976);
CREATE TABLE organisations (
	id VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	created_ms BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "organisations" VALUES('org_01M8CMG82DTV1KZM6N6JESX0B1','default',1795720486989);
CREATE TABLE prices (
	version INTEGER NOT NULL, 
	model VARCHAR NOT NULL, 
	currency VARCHAR NOT NULL, 
	input_nanos BIGINT NOT NULL, 
	cached_nanos BIGINT NOT NULL, 
	output_nanos BIGINT NOT NULL, 
	from_ms BIGINT NOT NULL, 
	PRIMARY KEY (version), 
	CHECK (input_nanos >= 0 AND cached_nanos >= 0 AND output_nanos >= 0), 
	CHECK (cached_nanos <= input_nanos)
);
INSERT INTO "prices" VALUES(1,'echo','CNY',1000000000,200000000,2000000000,0);
INSERT INTO "prices" VALUES(2,'echo','CNY',3000000000,1000000000,4000000000,1795720488317);
CREATE TABLE projects (
	id VARCHAR NOT NULL, 
	organisation_id VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	created_ms BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (organisation_id, name), 
	FOREIGN KEY(organisation_id) REFERENCES organisations (id)
);
INSERT INTO "projects" VALUES('prj_01M8CMG82FDHA552RKVS1K8NJP','org_01M8CMG82DTV1KZM6N6JESX0B1','default',1795720486991);
CREATE TABLE receipts (
	request_id VARCHAR NOT NULL, 
	journal_id VARCHAR NOT NULL, 
	transfer_id VARCHAR, 
	organisation_id VARCHAR NOT NULL, 
	project_id VARCHAR NOT NULL, 
	key_id VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	deployment_id VARCHAR NOT NULL, 
	opened_ms BIGINT NOT NULL, 
	closed_ms BIGINT NOT NULL, 
	first_byte_ms INTEGER NOT NULL, 
	outcome VARCHAR NOT NULL, 
	prompt_tokens INTEGER NOT NULL, 
	cached_tokens INTEGER NOT NULL, 
	completion_tokens INTEGER NOT NULL, 
	reasoning_tokens INTEGER NOT NULL, 
	estimated BOOLEAN NOT NULL, 
	price_version INTEGER NOT NULL, 
	currency VARCHAR NOT NULL, 
	hold_nanos BIGINT NOT NULL, 
	amount_nanos BIGINT NOT NULL, 
	excess_nanos BIGINT NOT NULL, 
	balance_nanos BIGINT NOT NULL, 
	posted_ms BIGINT NOT NULL, 
	PRIMARY KEY (request_id), 
	CHECK (amount_nanos >= 0 AND excess_nanos >= 0 AND amount_nanos <= hold_nanos), 
	CHECK ((amount_nanos > 0) <= (transfer_id IS NOT NULL)), 
	FOREIGN KEY(transfer_id) REFERENCES transfers (id), 
	FOREIGN KEY(price_version) REFERENCES prices (version)
);
INSERT INTO "receipts" VALUES('req_01M8CMG9AQVF5Q80A66P2P4KDZ','rly_01m8cmg8jvqdt432cffvfwxpv0','tra_01M8CMG9NZV1F96R60GBCFFQ5C','org_01M8CMG82DTV1KZM6N6JESX0B1','prj_01M8CMG82FDHA552RKVS1K8NJP','be662d501839a5c8de710298','echo','dep_01m8cmg820yme817dy3jz337qf',1795720488283,1795720488288,5,'done',3,0,16,0,0,1,'CNY',2637001,35000,0,9999965000,1795720488641);
INSERT INTO "receipts" VALUES('req_01M8CMG9B14M09GHFY8WTCKTFT','rly_01m8cmg8jvqdt432cffvfwxpv0','tra_01M8CMG9NZV1F96R60GBCFFQ5C','org_01M8CMG82DTV1KZM6N6JESX0B1','prj_01M8CMG82FDHA552RKVS1K8NJP','be662d501839a5c8de710298','echo','dep_01m8cmg820yme817dy3jz337qf',1795720488289,1795720488289,0,'done',3,0,16,0,0,1,'CNY',2637001,35000,0,9999930000,1795720488641);
INSERT INTO "receipts" VALUES('req_01M8CMG9B2JD2QF310H6RDHQZZ','rly_01m8cmg8jvqdt432cffvfwxpv0','tra_01M8CMG9NZV1F96R60GBCFFQ5C','org_01M8CMG82DTV1KZM6N6JESX0B1','prj_01M8CMG82FDHA552RKVS1K8NJP','be662d501839a5c8de710298','echo','dep_01m8cmg820yme817dy3jz337qf',1795720488290,1795720488290,0,'done',3,0,16,0,0,1,'CNY',2637001,35000,0,9999895000,1795720488641);
INSERT INTO "receipts" VALUES('req_01M8CMG9B3PPGZ4TWPXDXJVTEZ','rly_01m8cmg8jvqdt432cffvfwxpv0','tra_01M8CMG9NZV1F96R60GBCFFQ5C','org_01M8CMG82DTV1KZM6N6JESX0B1','prj_01M8CMG82FDHA552RKVS1K8NJP','be662d501839a5c8de710298','echo','dep_01m8cmg820yme817dy3jz337qf',1795720488291,1795720488291,0,'done',3,0,16,0,0,1,'CNY',2637001,35000,0,9999860000,1795720488641);
INSERT INTO "receipts" VALUES('req_01M8CMG9B3GFB6XEJQ9Z97GQEN','rly_01m8cmg8jvqdt432cffvfwxpv0','tra_01M8CMG9NZV1F96R60GBCFFQ5C','org_01M8CMG82DTV1KZM6N6JESX0B1','prj_01M8CMG82FDHA552RKVS1K8NJP','be662d501839a5c8de710298','echo','dep_01m8cmg820yme817dy3jz337qf',1795720488291,1795720488292,1,'done',3,0,16,0,0,1,'CNY',2637001,35000,0,9999825000,1795720488641);
INSERT INTO "receipts" VALUES('req_01M8CMG9B4SZXDSZ0DQEWBNFEA','rly_01m8cmg8jvqdt432cffvfwxpv0','tra_01M8CMG9NZV1F96R60GBCFFQ5C','org_01M8CMG82DTV1KZM6N6JESX0B1','prj_01M8CMG82FDHA552RKVS1K8NJP','be662d501839a5c8de710298','echo','dep_01m8cmg820yme817dy3jz337qf',1795720488292,1795720488292,0,'done',3,0,16,0,0,1,'CNY',2653001,35000,0,9999790000,1795720488641);
CREATE TABLE schema_versions (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "schema_versions" VALUES(1);
CREATE TABLE transfers (
	id VARCHAR NOT NULL, 
	request_key VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	debit VARCHAR NOT NULL, 
	credit VARCHAR NOT NULL, 
	amount_nanos BIGINT NOT NULL, 
	pending_id VARCHAR, 
	memo VARCHAR NOT NULL, 
	at_ms BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	CHECK (amount_nanos >= 0), 
	CHECK (debit <> credit), 
	CHECK (state IN ('pending', 'posted', 'voided')), 
	CHECK (kind IN ('topup', 'refund', 'charge', 'excess', 'unbilled')), 
	CHECK (state <> 'voided' OR pending_id IS NOT NULL), 
	UNIQUE (request_key), 
	FOREIGN KEY(debit) REFERENCES accounts (id), 
	FOREIGN KEY(credit) REFERENCES accounts (id), 
	UNIQUE (pending_id), 
	FOREIGN KEY(pending_id) REFERENCES transfers (id)
);
INSERT INTO "transfers" VALUES('tra_01M8CMG82JF8HNMH1VG5SY9057','topup:org_01M8CMG82DTV1KZM6N6JESX0B1:first start','topup','posted','funding:CNY','wallet:org_01M8CMG82DTV1KZM6N6JESX0B1:CNY',10000000000,NULL,'starting credit',1795720486994);
INSERT INTO "transfers" VALUES('tra_01M8CMG9NZV1F96R60GBCFFQ5C','charge:req_01M8CMG9AQVF5Q80A66P2P4KDZ','charge','posted','wallet:org_01M8CMG82DTV1KZM6N6JESX0B1:CNY','revenue:CNY',210000,NULL,'',1795720488639);
CREATE TABLE usage_days (
	day VARCHAR NOT NULL, 
	organisation_id VARCHAR NOT NULL, 
	project_id VARCHAR NOT NULL, 
	key_id VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	currency VARCHAR NOT NULL, 
	requests BIGINT DEFAULT '0' NOT NULL, 
	prompt_tokens BIGINT DEFAULT '0' NOT NULL, 
	cached_tokens BIGINT DEFAULT '0' NOT NULL, 
	completion_tokens BIGINT DEFAULT '0' NOT NULL, 
	amount_nanos BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (day, organisation_id, project_id, key_id, model, currency)
);
INSERT INTO "usage_days" VALUES('2026-11-26','org_01M8CMG82DTV1KZM6N6JESX0B1','prj_01M8CMG82FDHA552RKVS1K8NJP','be662d501839a5c8de710298','echo','CNY',6,18,0,96,210000);
CREATE INDEX ix_prices_model ON prices (model);
CREATE TRIGGER prices_no_update BEFORE UPDATE ON prices BEGIN SELECT RAISE(ABORT, 'prices is append-only'); END;
CREATE TRIGGER prices_no_delete BEFORE DELETE ON prices BEGIN SELECT RAISE(ABORT, 'prices is append-only'); END;
CREATE INDEX ix_idempotency_created_ms ON idempotency (created_ms);
CREATE INDEX ix_deployments_model ON deployments (model);
CREATE INDEX ix_transfers_debit ON transfers (debit);
CREATE INDEX ix_transfers_credit ON transfers (credit);
CREATE TRIGGER transfers_no_update BEFORE UPDATE ON transfers BEGIN SELECT RAISE(ABORT, 'transfers is append-only'); END;
CREATE TRIGGER transfers_no_delete BEFORE DELETE ON transfers BEGIN SELECT RAISE(ABORT, 'transfers is append-only'); END;
CREATE INDEX ix_keys_project_id ON keys (project_id);
CREATE INDEX ix_keys_master_version ON keys (master_version);
CREATE INDEX receipts_by_organisation ON receipts (organisation_id, request_id);
CREATE INDEX ix_receipts_transfer_id ON receipts (transfer_id);
CREATE TRIGGER receipts_no_update BEFORE UPDATE ON receipts BEGIN SELECT RAISE(ABORT, 'receipts is append-only'); END;
CREATE TRIGGER receipts_no_delete BEFORE DELETE ON receipts BEGIN SELECT RAISE(ABORT, 'receipts is append-only'); END;
COMMIT;
