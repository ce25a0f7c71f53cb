-- A repeated `ref` has the first answer to the byte.
ALTER TABLE operator_refs ALTER COLUMN answer TYPE json;
