-- Revision 1.

-- Put money into a wallet, or take it back with a negative amount, never below what is held. The same reference counts
-- once: a repeat answers false and changes nothing.
CREATE OR REPLACE FUNCTION credit(account text, amount bigint, reference text, remark text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM accounts WHERE id = account FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such account' USING ERRCODE = 'no_data_found';
    END IF;
    IF reference IS NOT NULL THEN
        INSERT INTO credit_refs (account_id, ref, amount_nano) VALUES (account, reference, amount) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN false;
        END IF;
    END IF;
    UPDATE accounts SET balance_nano = balance_nano + amount WHERE id = account;
    INSERT INTO ledger (debit_account, credit_account, amount_nano, kind, ref, note) VALUES (
        CASE WHEN amount > 0 THEN 'house:funding' ELSE account END,
        CASE WHEN amount > 0 THEN account ELSE 'house:funding' END,
        abs(amount), CASE WHEN amount > 0 THEN 'credit' ELSE 'take_back' END, reference, remark);
    RETURN true;
END $$;
