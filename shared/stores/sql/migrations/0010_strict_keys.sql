-- A strict key has every wish that is not done refused; the others have it left out and named. The previous release knows no
-- wishes and leaves the column alone.

ALTER TABLE api_keys ADD COLUMN strict boolean NOT NULL DEFAULT false;
