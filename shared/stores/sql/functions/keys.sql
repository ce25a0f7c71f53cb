-- Revision 1.

-- Whose is now what a key began at `began_at`, and why it must stop (NULL: it may go on). What was running when a key was
-- rotated is the successor's, whatever becomes of the old key; what the old key began after that is the successor's when
-- the old one's time is over, but stops with the old one when that is revoked. An unknown key stops nothing. What a key began
-- before it was upgraded goes on, unless it is revoked after that.
CREATE OR REPLACE FUNCTION holder_of(the_key text, began_at timestamptz, OUT holder text, OUT reason text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    one record;
BEGIN
    holder := the_key;
    FOR step IN 1..1000 LOOP
        SELECT k.revoked_at, k.expires_at, k.successor, k.rotated_at, k.upgraded_at INTO one FROM api_keys k WHERE k.id = holder;
        IF NOT FOUND THEN
            RETURN;
        ELSIF one.successor IS NOT NULL AND began_at < one.rotated_at THEN
            holder := one.successor;
        ELSIF began_at < one.upgraded_at AND COALESCE(one.revoked_at <= one.upgraded_at, true) THEN
            RETURN;
        ELSIF one.revoked_at <= now() THEN
            reason := 'key_revoked';
            RETURN;
        ELSIF one.expires_at > now() OR one.expires_at IS NULL THEN
            RETURN;
        ELSIF one.successor IS NOT NULL THEN
            holder := one.successor;
        ELSE
            reason := 'key_expired';
            RETURN;
        END IF;
    END LOOP;
END $$;
