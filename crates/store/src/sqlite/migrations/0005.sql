-- Whose an image is, and which versions depend on a registry.
CREATE INDEX version_of_image ON version (image);
-- What explains an image beside its routes.
CREATE INDEX push_not_succeeded ON push (image) WHERE status <> 'succeeded';
