DROP TABLE asset_chunks;
DROP TABLE asset_texts;
DROP TABLE assets;
