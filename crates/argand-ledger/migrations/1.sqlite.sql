CREATE TRIGGER usage_update BEFORE UPDATE ON usage BEGIN SELECT RAISE(ABORT, 'usage is append-only'); END;
CREATE TRIGGER usage_delete BEFORE DELETE ON usage BEGIN SELECT RAISE(ABORT, 'usage is append-only'); END;
CREATE TRIGGER price_lists_update BEFORE UPDATE ON price_lists BEGIN SELECT RAISE(ABORT, 'price lists are append-only'); END;
CREATE TRIGGER price_lists_delete BEFORE DELETE ON price_lists BEGIN SELECT RAISE(ABORT, 'price lists are append-only'); END;
