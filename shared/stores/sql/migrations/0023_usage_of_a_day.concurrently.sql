-- What all accounts used today is read without a look at the days before.
CREATE INDEX CONCURRENTLY IF NOT EXISTS usage_by_day_of_day ON usage_by_day (day);
