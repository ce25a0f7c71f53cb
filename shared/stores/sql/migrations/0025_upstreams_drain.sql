-- Upstreams are taken out of service, too.
ALTER TABLE switched_off DROP CONSTRAINT switched_off_kind_check;
ALTER TABLE switched_off ADD CONSTRAINT switched_off_kind_check CHECK (kind IN ('provider', 'worker', 'upstream'));
